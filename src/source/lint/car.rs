//! What a Carbon application says of itself: the `artifacts.xml` at the root of its archive.

use super::xml::{self, Fault};

/// The member that names the application.
pub(super) const DESCRIPTOR: &str = "artifacts.xml";
/// Longest name or version that is taken; WSO2's own are words.
pub(super) const NAME_BYTES_MAX: usize = 1024;
/// The type of the artifact that is the application itself.
const APPLICATION: &str = "carbon/application";

/// Name and version by which a server knows an application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Application {
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
}

/// Reads the bytes of an `artifacts.xml`.
///
/// # Errors
/// [`Fault`]: not XML, or no artifact of the type `carbon/application` that has a name and a version.
pub(super) fn application(bytes: &[u8]) -> Result<Application, Fault> {
    let mut found = None;
    xml::walk(bytes, &mut |depth, element| {
        let name = element.local_name().into_inner();
        if depth == 0 && name != "artifacts" {
            return Err(Fault::Content("has a root that is not <artifacts>"));
        }
        let is_application = depth == 1
            && name == "artifact"
            && xml::attribute(element, "type").as_deref() == Some(APPLICATION);
        if !is_application {
            return Ok(());
        }
        if found.is_some() {
            return Err(Fault::Content("tells of two applications"));
        }
        let (name, version) = (xml::attribute(element, "name"), xml::attribute(element, "version"));
        let fits = |text: &String| text.len() <= NAME_BYTES_MAX;
        let (Some(name), Some(version)) = (name.filter(fits), version.filter(fits)) else {
            return Err(Fault::Content("gives the application no name or no version"));
        };
        found = Some(Application { name, version });
        Ok(())
    })?;
    found.ok_or(Fault::Content("tells of no artifact of the type carbon/application"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_version_are_those_of_the_application() {
        let text = r#"<?xml version="1.0"?><artifacts><artifact name="Shop &amp; Co" version="1.4.0" type="carbon/application">
            <dependency artifact="Api" version="9" include="true" serverRole="x"/></artifact></artifacts>"#;
        let application = application(text.as_bytes()).expect("an application");
        assert_eq!((&*application.name, &*application.version), ("Shop & Co", "1.4.0"));
    }

    #[test]
    fn what_names_no_application_is_told_why() {
        for (text, why) in [
            ("<artifact name='a' version='1' type='carbon/application'/>", "not <artifacts>"),
            ("<artifacts/>", "no artifact"),
            (
                "<artifacts><artifact name='a' version='1' type='synapse/api'/></artifacts>",
                "no artifact",
            ),
            (
                "<artifacts><artifact name='a' version=' ' type='carbon/application'/></artifacts>",
                "no version",
            ),
            ("<artifacts><artifact version='1' type='carbon/application'/></artifacts>", "no name"),
            (
                "<artifacts><artifact name='a' version='1' type='carbon/application'/><artifact name='b' version='1' type='carbon/application'/></artifacts>",
                "two applications",
            ),
            ("<artifacts>", "well-formed"),
        ] {
            let told = application(text.as_bytes()).expect_err(text).to_string();
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
