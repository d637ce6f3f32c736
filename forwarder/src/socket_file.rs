//! Unix sockets as files: made in place of one that was left behind, with the mode they are to have before they
//! have their name, and removed at the end.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// The file of a socket; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
}

impl SocketFile {
    /// Lets `bind` make a socket at another path, and gives that its mode, its owner and its name.
    pub(crate) fn make<T>(
        path: &Path,
        mode: u32,
        (user, group): (Option<u32>, Option<u32>),
        bind: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<(T, Self)> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                let message = "there is something else than a socket";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
            Ok(_) | Err(_) => {}
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = bind(&temporary)?;
        if user.is_some() || group.is_some() {
            chown(&temporary, user, group)?;
        }
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode))?;
        std::fs::rename(&temporary, path)?;
        let path = path.to_owned();
        Ok((socket, Self { path }))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone already; a left one is replaced by the next run.
        drop(std::fs::remove_file(&self.path));
    }
}
