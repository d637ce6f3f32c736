//! Who is not let in where, and what to do about it.
//!
//! Only names, owners and modes are looked at, never what is in a file.

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde::Serialize;

/// Of `/etc/passwd` and `/etc/group` so much is read.
const MAX_NAMES_BYTES: u64 = 4 << 20;
/// The capability to read any file and search any directory, by its number.
const DAC_READ_SEARCH: u32 = 2;
/// The one that overrides all modes.
const DAC_OVERRIDE: u32 = 1;

/// Whom this process runs as.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    /// By name, or by number.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The groups by name, the first one first.
    pub groups: Vec<String>,
    /// Whether modes do not stop it from reading.
    pub reads_everything: bool,
    #[serde(skip)]
    group_ids: Vec<u32>,
}

impl User {
    /// Of this process.
    pub fn current() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let mut group_ids = vec![rustix::process::getegid().as_raw()];
        for group in rustix::process::getgroups().unwrap_or_default() {
            if !group_ids.contains(&group.as_raw()) {
                group_ids.push(group.as_raw());
            }
        }
        let capabilities = capabilities();
        let has = |number: u32| capabilities & (1 << number) != 0;
        Self {
            name: user_name(uid),
            uid,
            groups: group_ids.iter().map(|group| group_name(*group)).collect(),
            reads_everything: has(DAC_READ_SEARCH) || has(DAC_OVERRIDE),
            group_ids,
        }
    }

    /// The bits of the mode that count for it.
    fn bits(&self, metadata: &Metadata) -> u32 {
        let mode = metadata.mode();
        if metadata.uid() == self.uid {
            mode >> 6 & 7
        } else if self.group_ids.contains(&metadata.gid()) {
            mode >> 3 & 7
        } else {
            mode & 7
        }
    }
}

/// The effective capabilities; none if they cannot be told.
fn capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default()
}

fn user_name(uid: u32) -> String {
    name_in("/etc/passwd", uid).unwrap_or_else(|| format!("uid {uid}"))
}

fn group_name(gid: u32) -> String {
    name_in("/etc/group", gid).unwrap_or_else(|| format!("gid {gid}"))
}

fn name_in(file: &str, number: u32) -> Option<String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(file).ok()?;
    file.take(MAX_NAMES_BYTES).read_to_end(&mut text).ok()?;
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, _, id) = (parts.next()?, parts.next()?, parts.next()?);
        (id.parse() == Ok(number)).then(|| name.to_owned())
    })
}

/// What is wanted of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// To read the file.
    Read,
    /// To read the names in the directory, and go to them.
    List,
    /// To make files in the directory.
    Write,
}

impl Want {
    fn bits(self) -> (Access, u32, &'static str) {
        match self {
            Self::Read => (Access::READ_OK, 4, "r"),
            Self::List => (Access::READ_OK.union(Access::EXEC_OK), 5, "rx"),
            Self::Write => (Access::WRITE_OK.union(Access::EXEC_OK), 3, "rwx"),
        }
    }
}

/// Whether it is allowed, as far as the kernel tells.
pub fn is_allowed(path: &Path, want: Want) -> bool {
    accessat(CWD, path, want.bits().0, AtFlags::EACCESS).is_ok()
}

/// Who denies it, and what to do, for a path that was denied.
pub fn explain(path: &Path, want: Want, user: &User) -> String {
    let ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
    let closed = ancestors.into_iter().rev().find(|directory| {
        !directory.as_os_str().is_empty()
            && accessat(CWD, *directory, Access::EXEC_OK, AtFlags::EACCESS).is_err()
    });
    let (blamed, needed, letters, kind) = match closed {
        Some(directory) => (directory, 1, "x", "the directory"),
        None => {
            let (_, needed, letters) = want.bits();
            let kind = if want == Want::Read {
                "the file"
            } else {
                "the directory"
            };
            (path, needed, letters, kind)
        }
    };
    let place = blamed.display();
    let metadata = match std::fs::metadata(blamed) {
        Ok(metadata) => metadata,
        Err(error) => return format!("{kind} {place} denies it, and cannot be looked at: {error}"),
    };
    let (owner, group) = (user_name(metadata.uid()), group_name(metadata.gid()));
    let mode = metadata.mode() & 0o7777;
    let name = &user.name;
    let denied = format!(
        "{kind} {place} (owner {owner}, group {group}, mode {mode:04o}) does not let {name} in"
    );
    if user.bits(&metadata) & needed == needed || user.reads_everything {
        return format!(
            "{denied}, though its mode would: look for an ACL (getfacl {place}), SELinux, AppArmor, a sandbox of the \
             service, or a network file system that does not trust root"
        );
    }
    let by_group = metadata.mode() >> 3 & needed == needed && metadata.gid() != 0;
    let first = if by_group {
        format!("add {name} to the group {group} (usermod -aG {group} {name})")
    } else {
        format!("give {name} an ACL (setfacl -m u:{name}:{letters} {place})")
    };
    if want == Want::Write {
        return format!("{denied}; {first}, or make it the owner (chown {name} {place})");
    }
    format!(
        "{denied}; {first}, or run with CAP_DAC_READ_SEARCH (AmbientCapabilities= of the service), \
         which may read any file"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn nobody() -> User {
        User {
            name: "nobody".to_owned(),
            uid: 65534,
            groups: Vec::new(),
            reads_everything: false,
            group_ids: vec![65534],
        }
    }

    #[test]
    fn the_one_who_runs_this_is_known() {
        let user = User::current();
        assert!(!user.name.is_empty() && !user.groups.is_empty());
        assert_eq!(user.uid, rustix::process::geteuid().as_raw());
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_000_000_000), "uid 4000000000");
    }

    #[test]
    fn who_denies_is_said_with_the_way_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.log");
        std::fs::write(&file, "").expect("writes");
        let set = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&file, mode).expect("sets");
        };
        set(0o600);
        // Whoever runs this test gets in, so it is the file that is blamed.
        let text = explain(&file, Want::Read, &nobody());
        assert!(
            text.contains("mode 0600") && text.contains("a.log"),
            "{text}"
        );
        assert!(text.contains("setfacl -m u:nobody:r "), "{text}");
        assert!(text.contains("CAP_DAC_READ_SEARCH"), "{text}");
        set(0o644);
        let text = explain(&file, Want::Read, &nobody());
        assert!(text.contains("though its mode would"), "{text}");
        let text = explain(directory.path(), Want::Write, &nobody());
        assert!(text.contains("chown nobody"), "{text}");
    }
}
