//! The certificates that `posthouse up` makes for itself: a small authority and one server certificate.
//!
//! For a machine on which somebody tries the thing out. In production the operator names certificate files instead.
//! The authority is kept for ten years so that a client that trusted it once goes on trusting it; the server
//! certificate is made anew at every start, because its key need not outlive the process.

use crate::exit::Failure;
use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where the PEM files are.
pub struct Certificates {
    pub authority: PathBuf,
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Makes what is missing below `directory`; `names` are host names and addresses of this server.
pub fn ensure(directory: &Path, names: &[String], year: i32) -> anyhow::Result<Certificates> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let files = Certificates {
        authority: directory.join("ca.pem"),
        chain: directory.join("server.pem"),
        key: directory.join("server.key"),
    };
    let authority_key_file = directory.join("ca.key");
    if !files.authority.exists() || !authority_key_file.exists() {
        make_authority(&files.authority, &authority_key_file, year)?;
    }
    let authority_key = KeyPair::from_pem(&fs::read_to_string(&authority_key_file)?).with_context(|| {
        format!("{} is damaged; remove it and ca.pem to make a new authority", authority_key_file.display())
    })?;
    let authority_pem = fs::read_to_string(&files.authority)?;
    let issuer = Issuer::from_ca_cert_pem(&authority_pem, authority_key).with_context(|| {
        format!("{} is damaged; remove it and ca.key to make a new authority", files.authority.display())
    })?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = distinguished_name(names.first().map_or("posthouse", String::as_str));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + 1, 12, 31);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    write(&files.chain, format!("{}{authority_pem}", certificate.pem()).as_bytes(), 0o644)?;
    write(&files.key, key.serialize_pem().as_bytes(), 0o600)?;
    Ok(files)
}

fn make_authority(file: &Path, key_file: &Path, year: i32) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = distinguished_name("posthouse local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + 10, 12, 31);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write(key_file, key.serialize_pem().as_bytes(), 0o600)?;
    write(file, certificate.pem().as_bytes(), 0o644)
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Whole or not at all: a reader never sees half a file.
pub fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let attempt = || -> std::io::Result<()> {
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    attempt().map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::StorageFull => "; make room on that disk, then try again",
            _ => "",
        };
        Failure::CannotCreate(format!("cannot write {}: {error}{remedy}", path.display())).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_stays_and_the_server_certificate_is_new() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["mx.posthouse.test".to_owned(), "127.0.0.1".to_owned()];
        let first = ensure(directory.path(), &names, 2026).unwrap();
        let (authority, chain) = (fs::read(&first.authority).unwrap(), fs::read(&first.chain).unwrap());
        let second = ensure(directory.path(), &names, 2026).unwrap();
        assert_eq!(fs::read(&second.authority).unwrap(), authority);
        assert_ne!(fs::read(&second.chain).unwrap(), chain);
    }

    #[test]
    fn a_damaged_authority_says_what_to_remove() {
        let directory = tempfile::tempdir().unwrap();
        ensure(directory.path(), &["a.test".to_owned()], 2026).unwrap();
        fs::write(directory.path().join("ca.key"), "nonsense").unwrap();
        let error = ensure(directory.path(), &["a.test".to_owned()], 2026).err().unwrap().to_string();
        assert!(error.contains("ca.key") && error.contains("remove"), "{error}");
    }
}
