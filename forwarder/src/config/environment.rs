//! `$NAME` and `${NAME}` in values.
//!
//! COMPAT: logstash-forwarder expands them over the whole file before it is parsed, and a name
//! that is not set vanishes, so that `/var/log/$app.log` silently becomes `/var/log/.log`. Here
//! they are expanded in values only, after parsing, and a name that is not set is an error.
//! `$$` is a plain dollar sign; a `$` that no name follows is left alone.

/// Expands the variables of one value; `lookup` is the environment.
pub fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(remainder) = after.strip_prefix('$') {
            expanded.push('$');
            rest = remainder;
            continue;
        }
        let (name, remainder) = if let Some(inside) = after.strip_prefix('{') {
            // The value is not repeated: it may hold a password.
            let end = inside
                .find('}')
                .ok_or("`${` without `}`; write `$$` for a plain `$`")?;
            (&inside[..end], &inside[end + 1..])
        } else {
            let end = after
                .find(|character: char| !character.is_ascii_alphanumeric() && character != '_')
                .unwrap_or(after.len());
            (&after[..end], &after[end..])
        };
        rest = remainder;
        if name.is_empty() {
            expanded.push('$');
            continue;
        }
        match lookup(name) {
            Some(value) => expanded.push_str(&value),
            None => {
                return Err(format!(
                    "the environment variable `{name}` is not set; set it, or write `$$` for a plain `$`"
                ));
            }
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn both_forms_and_the_escape() {
        assert_eq!(expand("$HOME/a", &lookup), Ok("/root/a".to_owned()));
        assert_eq!(
            expand("${HOME}x$$HOME", &lookup),
            Ok("/rootx$HOME".to_owned())
        );
        assert_eq!(expand("a$", &lookup), Ok("a$".to_owned()));
        assert_eq!(expand("a$-b", &lookup), Ok("a$-b".to_owned()));
    }

    #[test]
    fn a_name_that_is_not_set_is_an_error() {
        let error = expand("/var/log/$app.log", &lookup).expect_err("not set");
        assert!(error.contains("`app`"), "{error}");
        assert!(expand("${HOME", &lookup).is_err());
    }
}
