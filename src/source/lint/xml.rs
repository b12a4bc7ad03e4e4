//! Whether a text is well-formed XML, and what its elements are. Nothing is expanded, and a document type is refused.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::model::untrusted::Untrusted;

/// Elements within one another.
const DEPTH_MAX: usize = 256;
/// Characters of a reason that are told.
const WHY_CHARS_MAX: usize = 200;

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Fault {
    /// It is in another encoding.
    #[error("is not UTF-8")]
    Encoding,
    /// It declares a document type, which may tell of entities.
    #[error("declares a document type")]
    Doctype,
    /// It is not well-formed.
    #[error("is not well-formed XML at byte {at}: {why}")]
    Syntax {
        /// About where.
        at: u64,
        /// Why, escaped.
        why: String,
    },
    /// It is well-formed and not what it should be.
    #[error("{0}")]
    Content(&'static str),
}

/// Walks the elements of `bytes`; `element` is told of each with its depth, from 0.
///
/// Guarantees: time and memory are those of a few passes over `bytes`, whatever they are.
///
/// # Errors
/// [`Fault`], or what `element` gives.
pub(super) fn walk(
    bytes: &[u8],
    element: &mut dyn FnMut(usize, &BytesStart<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_error| Fault::Encoding)?;
    // It may quote a name, and names have no bound.
    let syntax = |at: u64, why: &str| {
        let why: String = why.chars().take(WHY_CHARS_MAX).collect();
        Fault::Syntax { at, why: Untrusted::new(why.as_bytes()).to_string() }
    };
    if let Some(at) = bytes.iter().position(|byte| *byte < b' ' && !b"\t\r\n".contains(byte)) {
        return Err(syntax(at as u64, "there is a control character"));
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let (mut depth, mut has_root) = (0usize, false);
    loop {
        let event = reader
            .read_event()
            .map_err(|error| syntax(reader.error_position(), &error.to_string()))?;
        let at = reader.buffer_position();
        let refused = |why: &str| Err(syntax(at, why));
        match event {
            Event::Start(_) | Event::Empty(_) if depth == 0 && has_root => {
                return refused("there is a second root");
            }
            Event::Start(_) if depth >= DEPTH_MAX => return refused("elements nest too deep"),
            Event::Start(start) => {
                check_attributes(&start).map_err(|why| syntax(at, &why))?;
                element(depth, &start)?;
                (depth, has_root) = (depth + 1, true);
            }
            Event::Empty(start) => {
                check_attributes(&start).map_err(|why| syntax(at, &why))?;
                element(depth, &start)?;
                has_root = true;
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Text(text) if depth == 0 && !text.trim_ascii().is_empty() => {
                return refused("there is text outside the root");
            }
            Event::CData(_) | Event::GeneralRef(_) if depth == 0 => {
                return refused("there is text outside the root");
            }
            Event::GeneralRef(name) => {
                let is_known = match name.resolve_char_ref() {
                    Ok(Some(_)) => true,
                    Ok(None) => ["lt", "gt", "amp", "apos", "quot"].contains(&&*name),
                    Err(_invalid) => false,
                };
                if !is_known {
                    return refused(&format!("the entity &{}; is not known", &*name));
                }
            }
            Event::DocType(_) => return Err(Fault::Doctype),
            Event::Eof if depth > 0 => return refused("it ends within an element"),
            Event::Eof if !has_root => return refused("there is no element"),
            Event::Eof => return Ok(()),
            Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_) => {}
        }
    }
}

/// The value of the attribute `name`, if there is one that is not empty.
pub(super) fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = element.attributes();
    attributes.with_checks(false);
    let found = attributes.filter_map(Result::ok).find(|attribute| attribute.key.0 == name)?;
    let value = found.normalized_value(XmlVersion::Implicit1_0).ok()?;
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The library's own check for attributes that are there twice takes the square of their number.
fn check_attributes(element: &BytesStart<'_>) -> Result<(), String> {
    if element.name().0.is_empty() {
        return Err("an element has no name".to_owned());
    }
    let mut attributes = element.attributes();
    attributes.with_checks(false);
    let mut names = Vec::new();
    for attribute in attributes {
        let attribute = attribute.map_err(|error| error.to_string())?;
        if attribute.value.contains('<') {
            return Err("a value of an attribute has a '<'".to_owned());
        }
        attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
        names.push(attribute.key.0);
    }
    names.sort_unstable();
    let twice = names.iter().zip(names.iter().skip(1)).find(|(one, next)| one == next);
    twice.map_or(Ok(()), |(name, _)| Err(format!("the attribute {name} is there twice")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), Fault> {
        walk(text.as_bytes(), &mut |_depth, _element| Ok(()))
    }

    #[test]
    fn what_is_well_formed_is_taken() {
        for text in [
            "<a/>",
            "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c --><a b='1' c=\"&lt;&#65;\">x &amp; y<![CDATA[<&]]></a>\n",
            "<p:a xmlns:p=\"u\"><p:b></p:b ></p:a>",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not_is_told_where() {
        for (text, why) in [
            ("", "no element"),
            ("text", "outside the root"),
            ("<a>", "ends within"),
            ("<a></b>", "expected"),
            ("</a>", "at byte"),
            ("<a/><b/>", "second root"),
            ("<a/>x", "outside the root"),
            ("<a b=c/>", "at byte"),
            ("<a b='1' c='2' b='3'/>", "b is there twice"),
            ("<a b='<'/>", "'<'"),
            ("<a>&nbsp;</a>", "&nbsp; is not known"),
            ("<a>&#0;</a>", "not known"),
            ("<a b='&x;'/>", "at byte"),
            ("<a>\u{1}</a>", "control character"),
            ("<a><!-- -- --></a>", "at byte"),
            ("<a><![CDATA[</a>", "at byte"),
        ] {
            let told = check(text).map_err(|fault| fault.to_string());
            assert!(told.as_ref().is_err_and(|told| told.contains(why)), "{text}: {told:?}");
        }
        assert_eq!(check("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>"), Err(Fault::Doctype));
        assert_eq!(walk(b"<a>\xff</a>", &mut |_, _| Ok(())), Err(Fault::Encoding));
    }

    #[test]
    fn what_is_made_to_cost_much_costs_little() {
        let deep = "<a>".repeat(300_000);
        assert!(check(&deep).is_err_and(|fault| fault.to_string().contains("too deep")));
        let wide: String =
            (0..100_000).map(|number: u32| [" a", &number.to_string(), "=''"].concat()).collect();
        assert_eq!(check(&["<a", &wide, "/>"].concat()), Ok(()));
        let spaces =
            (0..250).map(|number: u32| ["<a xmlns:n", &number.to_string(), "='u'>"].concat());
        let spaces: String = spaces.collect();
        assert!(check(&spaces).is_err());
        let long = "\u{202e}".repeat(100_000);
        let told = check(&["<", &long, "></b>"].concat()).expect_err("another end").to_string();
        assert!(told.len() < 4000 && !told.contains('\u{202e}'), "{}", told.len());
    }
}
