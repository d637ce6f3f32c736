//! `sasl_jaas_config`: how Java is told a name and a password.
//!
//! `org.apache.kafka.common.security.scram.ScramLoginModule required username="ann" password="x";`: a module, a flag, options as
//! `name="value"` with `\` before a quote, and a semicolon.

/// The name and the password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: String,
}

/// Reads a configuration with one login module.
pub(super) fn parse(text: &str) -> Result<Login, String> {
    let mut rest = text.trim();
    let module = take_word(&mut rest);
    match module.rsplit('.').next() {
        Some("PlainLoginModule" | "ScramLoginModule") => {}
        _ => {
            return Err(format!(
                "the login module `{module}` is not known here: there are `PlainLoginModule` and `ScramLoginModule`"
            ));
        }
    }
    if !["required", "requisite", "sufficient", "optional"].contains(&take_word(&mut rest)) {
        return Err("behind the login module stands `required`".into());
    }
    let (mut username, mut password) = (None, None);
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest == ";" {
            break;
        }
        let (name, behind) = rest
            .split_once('=')
            .ok_or("options are written `name=\"value\"`, and the last is followed by `;`")?;
        rest = behind.trim_start();
        let value = take_value(&mut rest)?;
        match name.trim() {
            "username" => username = Some(value),
            "password" => password = Some(value),
            _ => {}
        }
    }
    match (username, password) {
        (Some(username), Some(password)) => Ok(Login { username, password }),
        _ => Err("it needs `username` and `password`".into()),
    }
}

fn take_word<'t>(rest: &mut &'t str) -> &'t str {
    let text = rest.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    *rest = &text[end..];
    &text[..end]
}

/// A value in quotes, or up to a blank or the semicolon.
fn take_value(rest: &mut &str) -> Result<String, String> {
    let quote = rest
        .chars()
        .next()
        .filter(|first| ['"', '\''].contains(first));
    let Some(quote) = quote else {
        let end = rest
            .find(|character: char| character.is_whitespace() || character == ';')
            .unwrap_or(rest.len());
        let value = rest[..end].to_owned();
        *rest = &rest[end..];
        return Ok(value);
    };
    let mut value = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ if character == quote => {
                *rest = &rest[at + 1..];
                return Ok(value);
            }
            _ => value.push(character),
        }
    }
    Err("a quote is not closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str) -> Result<(String, String), String> {
        parse(text).map(|login| (login.username, login.password))
    }

    #[test]
    fn names_and_passwords_are_found() {
        let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
        for (options, password) in [
            (r#"username="ann" password="x y";"#, "x y"),
            (r#"password="a\"b\\" username="ann" ;"#, "a\"b\\"),
            ("username='ann' password='='", "="),
            ("\n  username = ann\n  password=secret;\n", "secret"),
            (r#"serviceName="kafka" username="ann" password="";"#, ""),
        ] {
            let found = login(&format!("{module} {options}"));
            assert_eq!(found, Ok(("ann".into(), password.into())), "{options}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            (
                "com.sun.security.auth.module.Krb5LoginModule required;",
                "Krb5LoginModule",
            ),
            (
                "ScramLoginModule username=\"ann\" password=\"x\";",
                "required",
            ),
            ("ScramLoginModule required username=\"ann\";", "password"),
            ("ScramLoginModule required username=\"ann", "not closed"),
            ("ScramLoginModule required username", "name"),
            ("", "login module"),
        ] {
            let error = login(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
