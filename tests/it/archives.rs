//! Archives as a build tool makes them.

/// An archive of stored members.
pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    let long = |number: usize| u32::try_from(number).expect("short").to_le_bytes();
    let short = |number: usize| u16::try_from(number).expect("short").to_le_bytes();
    for (name, bytes) in members {
        let mut shared = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x58];
        shared.extend(crc32(bytes).to_le_bytes());
        shared.extend([long(bytes.len()), long(bytes.len())].concat());
        shared.extend([short(name.len()), [0, 0]].concat());
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&shared);
        directory.extend([0; 10]);
        directory.extend(long(out.len()));
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&shared);
        out.extend(name.as_bytes());
        out.extend(*bytes);
    }
    let offset = out.len();
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([short(members.len()), short(members.len())].concat());
    out.extend([long(directory.len()), long(offset)].concat());
    out.extend([0, 0]);
    out
}

/// The `artifacts.xml` of an application.
pub(crate) fn descriptor(name: &str, version: &str) -> String {
    let name = name.replace('&', "&amp;");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<artifacts>\n    <artifact name=\"{name}\" version=\"{version}\" type=\"carbon/application\"/>\n</artifacts>\n"
    )
}

/// A Carbon application with one artifact.
pub(crate) fn car(name: &str, version: &str, api: &str) -> Vec<u8> {
    let descriptor = descriptor(name, version);
    zip(&[("artifacts.xml", descriptor.as_bytes()), ("Api_1/Api-1.xml", api.as_bytes())])
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    };
    !bytes.iter().fold(u32::MAX, step)
}
