use super::*;

/// Every printable ASCII character, alone, in pairs with what escapes, and in the words that people write.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> =
        vec!["ü ✓".into(), "a  b".into(), "x\u{85}".replace('\u{85}', "\u{a0}")];
    let printable: Vec<char> = (' '..='~').collect();
    for one in &printable {
        texts.push(format!("/a{one}"));
        for other in "\\\"'%$# {;".chars() {
            texts.push(format!("/{one}{other}{one}b"));
            texts.push(format!("/{other}{one}"));
        }
    }
    texts
}

/// A crontab's command as cron makes it: `\%` is `%`, and, for some crons, two backslashes are one.
fn cron(command: &str, pairs_are_one: bool) -> String {
    let mut done = String::new();
    let mut characters = command.chars().peekable();
    while let Some(character) = characters.next() {
        assert_ne!(character, '%', "a bare % ends the command: {command}");
        match characters.peek() {
            Some('%') if character == '\\' => done.extend(characters.next()),
            Some('\\') if character == '\\' => {
                characters.next();
                done.push_str(if pairs_are_one { "\\" } else { "\\\\" });
            }
            _ => done.push(character),
        }
    }
    done
}

/// The words of a line as systemd splits it: `extract_first_word` with unquoting and C escapes, then specifiers.
fn systemd_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut is_open) = (Vec::new(), String::new(), None, false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => word.extend(characters.next()),
            (_, Some(mark)) if character == mark => quote = None,
            ('"' | '\'', None) => (quote, is_open) = (Some(character), true),
            (' ', None) if is_open || !word.is_empty() => {
                words.push(std::mem::take(&mut word));
                is_open = false;
            }
            _ => word.push(character),
        }
    }
    assert_eq!(quote, None, "{line}");
    words.push(word);
    words
        .iter()
        .map(|word| {
            assert!(!word.replace("%%", "").contains('%'), "a specifier: {line}");
            word.replace("%%", "%")
        })
        .collect()
}

fn unoctal(text: &str) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        let (digits, after) = after.split_at(3);
        let code = u8::from_str_radix(digits, 8).expect("octal");
        done = format!("{done}{before}{}", char::from(code));
        rest = after;
    }
    done + rest
}

#[test]
fn words_of_systemd_read_back() {
    for text in texts() {
        let line = format!("{} {} end", systemd(&text), systemd_argument(&text));
        let words = systemd_words(&line);
        assert_eq!(words, [text.clone(), text.replace('$', "$$"), "end".to_owned()], "{line}");
        match systemd_value(&text) {
            Ok(value) => assert_eq!(value.replace("%%", "%"), text),
            Err(_) => assert!(text.ends_with(['\\', ' ']), "{text}"),
        }
    }
}

#[test]
fn no_pair_that_crons_disagree_on_is_in_a_command() {
    for text in texts() {
        let word = shell(&text);
        let entry = crontab(&word);
        assert_eq!(cron(&entry, false), word, "{entry}");
        assert_eq!(cron(&entry, true), word, "{entry}");
    }
}

#[test]
fn fields_of_tables_read_back_and_have_no_blank() {
    for text in texts() {
        for (field, forbidden) in [(fstab(&text), " #"), (exports(&text), " #\"")] {
            assert_eq!(unoctal(&field), text);
            assert!(!field.contains(|character| forbidden.contains(character)), "{field}");
        }
    }
}

#[test]
fn quoted_texts_end_where_they_should() {
    for (text, in_yaml, in_ruby, in_ganesha) in [
        ("plain", "\"plain\"", "'plain'", "'plain'"),
        ("a'b", "\"a'b\"", "'a\\'b'", "\"a'b\""),
        ("a\"b\\", "\"a\\\"b\\\\\"", "'a\"b\\\\'", "'a\"b\\'"),
        ("'\"\\", "\"'\\\"\\\\\"", "'\\'\"\\\\'", "\"'\\\"\\\\\""),
        ("\u{feff}\u{2028}", "\"\\ufeff\\u2028\"", "'\u{feff}\u{2028}'", "'\u{feff}\u{2028}'"),
    ] {
        assert_eq!(
            (yaml(text), ruby(text), ganesha(text)),
            (in_yaml.into(), in_ruby.into(), in_ganesha.into())
        );
    }
}

#[test]
fn mounts_have_the_names_that_systemd_gives_them() {
    for (path, name) in [
        ("/", "-"),
        ("/srv/a-b/.c//d.e/", "srv-a\\x2db-.c-d.e"),
        ("/.x", "\\x2ex"),
        ("/a b/ü\\", "a\\x20b-\\xc3\\xbc\\x5c"),
    ] {
        assert_eq!(systemd_path(path), name, "{path}");
    }
}
