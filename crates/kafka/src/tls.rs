//! Why TLS failed. librdkafka says that a certificate was not verified, or which
//! alert came; people need to know which certificate, and what is wrong with it. So
//! after such a failure the certificates are looked at once more, here.
//!
//! Not here: connections that carry records.

use std::{
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use openssl::{
    asn1::Asn1Time,
    ssl::{HandshakeError, SslConnector, SslMethod, SslRef},
    x509::{X509, X509Ref, X509VerifyResult},
};

use crate::KafkaConfig;

/// A look at a certificate takes one exchange; nobody waits longer for an explanation.
const PATIENCE: Duration = Duration::from_secs(3);
const DEFAULT_PORT: &str = "9092";

/// Whether a reason is that the other side refused our certificate, or its absence.
pub(crate) fn is_alert(reason: &str) -> bool {
    ["SSL alert number", "alert certificate", "alert bad certificate", "alert unknown ca"]
        .iter()
        .any(|part| reason.contains(part))
}

/// What is wrong with our own certificate, as far as it shows from here.
pub(crate) fn own_certificate(config: &KafkaConfig) -> String {
    let file = &config.certificate_file;
    if file.is_empty() {
        return "they ask for a client's certificate, and kafka.certificate_file and kafka.key_file are empty".into();
    }
    let read = std::fs::read(file).map_err(|error| error.to_string());
    match read.and_then(|pem| X509::from_pem(&pem).map_err(|error| error.to_string())) {
        Err(error) => format!("kafka.certificate_file `{file}` cannot be read: {error}"),
        Ok(certificate) => match dated(&certificate) {
            Some(why) => format!("kafka.certificate_file `{file}` {why}: get a new one"),
            None => format!(
                "kafka.certificate_file `{file}` (of {}, signed by {}) is not one they trust: check that its authority \
                 is in their trust store, and that it may be used by clients",
                name(certificate.subject_name()),
                name(certificate.issuer_name()),
            ),
        },
    }
}

/// What is wrong with the first broker's certificate that answers; none where
/// nothing is, or none answers.
pub(crate) fn their_certificate(config: &KafkaConfig) -> Option<String> {
    config.bootstrap_servers.split(',').find_map(|server| look(config, server.trim()))
}

fn look(config: &KafkaConfig, server: &str) -> Option<String> {
    let server = server.split_once("://").map_or(server, |(_, address)| address);
    let (host, port) = server.rsplit_once(':').unwrap_or((server, DEFAULT_PORT));
    let host = host.trim_matches(['[', ']']);
    let address = (host, port.parse::<u16>().ok()?).to_socket_addrs().ok()?.next()?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let mut builder = SslConnector::builder(SslMethod::tls_client()).ok()?;
    if !config.ca_file.is_empty() {
        builder.set_ca_file(&config.ca_file).ok()?;
    }
    match builder.build().connect(host, stream) {
        Ok(_) => None,
        Err(HandshakeError::Failure(middle) | HandshakeError::WouldBlock(middle)) => refused(config, middle.ssl()),
        Err(HandshakeError::SetupFailure(_)) => None,
    }
}

fn refused(config: &KafkaConfig, ssl: &SslRef) -> Option<String> {
    let result = ssl.verify_result();
    if result == X509VerifyResult::OK {
        return None;
    }
    let theirs = ssl.peer_certificate();
    let of = theirs.as_ref().map_or_else(String::new, |it| {
        format!(" (of {}, signed by {})", name(it.subject_name()), name(it.issuer_name()))
    });
    if let Some(why) = theirs.as_ref().and_then(|certificate| dated(certificate)) {
        return Some(format!("the broker's certificate{of} {why}: it needs a new one"));
    }
    let trusted = if config.ca_file.is_empty() {
        "an authority of this system: set kafka.ca_file to the one who signed it".to_owned()
    } else {
        format!("an authority in kafka.ca_file `{}`", config.ca_file)
    };
    let why = result.error_string();
    // Its number for a name or address that the certificate does not hold is in no constant.
    Some(if why.contains("mismatch") {
        format!("the broker's certificate{of} is for another name ({why}): bootstrap_servers must use its own")
    } else {
        format!("the broker's certificate{of} is not signed by {trusted} ({why})")
    })
}

/// Whether a certificate is out of date, and since when.
fn dated(certificate: &X509Ref) -> Option<String> {
    let now = Asn1Time::days_from_now(0).ok()?;
    if certificate.not_after() < now {
        return Some(format!("expired on {}", certificate.not_after()));
    }
    (certificate.not_before() > now).then(|| format!("begins only on {}", certificate.not_before()))
}

fn name(name: &openssl::x509::X509NameRef) -> String {
    let entry = name.entries().last().and_then(|entry| entry.data().to_string().ok());
    entry.map_or_else(|| "nobody".to_owned(), |text| format!("`{text}`"))
}
