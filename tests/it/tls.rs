//! TLS with own authorities and client certificates, to the broker and to providers; what fails is told plainly.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use lookup_worker::sandbox::Kind;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    commands::Call,
    keeper::{Node, free_ports},
    road::{SOON, Served, config},
    worker::Worker,
};

/// Files of one authority, a server and a client: `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`.
pub struct Authority(TempDir);

impl Authority {
    pub fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        authority.renew();
        authority
    }

    /// Everything new, in the same files.
    fn renew(&self) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority of a test");
        fs::write(self.file("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        self.issue(
            &issuer,
            "server",
            &["127.0.0.1"],
            ExtendedKeyUsagePurpose::ServerAuth,
        );
        self.issue(&issuer, "client", &[], ExtendedKeyUsagePurpose::ClientAuth);
    }

    fn issue(
        &self,
        issuer: &Issuer<KeyPair>,
        name: &str,
        hosts: &[&str],
        purpose: ExtendedKeyUsagePurpose,
    ) {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(purpose);
        let key = KeyPair::generate().unwrap();
        fs::write(
            self.file(&format!("{name}.pem")),
            params.signed_by(&key, issuer).unwrap().pem(),
        )
        .unwrap();
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn ca(&self) -> String {
        format!("ca_file = '{}'\n", self.file("ca.pem").display())
    }

    fn client(&self) -> String {
        let (certificate, key) = (self.file("client.pem"), self.file("client.key"));
        format!(
            "client_cert_file = '{}'\nclient_key_file = '{}'\n",
            certificate.display(),
            key.display()
        )
    }

    pub fn key(&self, name: &str) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(self.file(name)).unwrap()
    }

    pub fn certificates(&self, name: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(self.file(name))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    /// Asks for a certificate of this authority, and hands on what comes to `target`.
    async fn terminate(&self, target: SocketAddr) -> SocketAddr {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.certificates("ca.pem"));
        let clients = WebPkiClientVerifier::builder(Arc::new(roots))
            .build()
            .unwrap();
        let key = self.key("server.key");
        let server = ServerConfig::builder().with_client_cert_verifier(clients);
        let server = server
            .with_single_cert(self.certificates("server.pem"), key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut outside) = acceptor.accept(stream).await else {
                        return;
                    };
                    let Ok(mut inside) = TcpStream::connect(target).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
        address
    }
}

/// A node that asks for certificates of `authority` on a second port, and takes their common name for the user.
fn broker(authority: &Authority, port: u16) -> Broker {
    let mut node = Node::alone();
    let file = |name: &str| authority.file(name).display().to_string();
    node.settings = format!(
        "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n\
         ssl_cert_login_from = common_name\nauth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\n",
        file("ca.pem"),
        file("server.pem"),
        file("server.key")
    );
    let broker = Broker::launch_with(node, "[rabbitmq_auth_mechanism_ssl].");
    broker.wait_ready();
    broker.rabbitmqctl(&["add_user", "client", "no-use-for-it"]);
    broker.rabbitmqctl(&["set_permissions", "client", ".*", ".*", ".*"]);
    broker
}

#[tokio::test]
async fn a_broker_that_asks_for_a_client_certificate_is_reached_by_one_and_everything_else_is_told_plainly()
 {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let [port] = free_ports();
    let broker = broker(&authority, port);
    let sandbox = Served::start().await;
    let with = |url: &str, keys: &str| {
        config(url, &sandbox, "").replace("[amqp]\n", &format!("[amqp]\n{keys}"))
    };
    let url = format!("amqps://127.0.0.1:{port}/%2f?auth_mechanism=external");

    let told = [
        (
            url.clone(),
            authority.client(),
            "authority of its certificate is not trusted here",
        ),
        (url.clone(), authority.ca(), "asks for a client certificate"),
        (
            url.clone(),
            authority.ca() + &stranger.client(),
            "does not accept the client certificate",
        ),
        (
            url.replace("127.0.0.1", "localhost"),
            authority.ca() + &authority.client(),
            "is for another name",
        ),
        (
            url.replace(&port.to_string(), &broker.port().to_string()),
            authority.ca(),
            "does not speak TLS",
        ),
    ];
    for (url, keys, problem) in told {
        let ran = Call::new(&["check"])
            .config(&with(&url, &keys))
            .run()
            .await
            .expect(1);
        let line = ran
            .out
            .lines()
            .find(|line| line.contains("broker"))
            .unwrap_or_default();
        // The broker closes the connection at once, and its reason may be lost by that.
        let lost = problem.contains("client certificate")
            && line.contains("where it asks for a client certificate");
        assert!(
            line.starts_with("FAIL") && (lost || line.contains(problem)),
            "{problem}: {ran:?}"
        );
    }

    let mut worker = Worker::start(&with(&url, &(authority.ca() + &authority.client())));
    worker.wait_ready().await;
    let ask = async |id: &str| {
        let client = Client::connect(&broker.url()).await;
        client
            .publish(
                "lookup.jobs",
                "antsomi",
                Job::json(&json!({"query": {"phone": "84907089782"}})).id(id),
            )
            .await;
        client
            .take("lookup.results", 1, SOON)
            .await
            .remove(0)
            .json()
    };
    assert_eq!(ask("first").await["status"], "found");

    // The files are read for each connection, so renewed certificates need no restart.
    broker.stop();
    authority.renew();
    broker.start_again();
    worker.wait_ready().await;
    assert_eq!(ask("second").await["status"], "found");
}

#[tokio::test]
async fn a_provider_that_asks_for_a_client_certificate_is_reached_by_one_and_sighup_renews_it() {
    let (authority, next) = (Authority::new(), Authority::new());
    let sandbox = Served::start().await;
    let plain = sandbox.base(Kind::Omeda).to_owned();
    let inside: SocketAddr = plain.trim_start_matches("http://").parse().unwrap();
    let outside = format!("https://{}", authority.terminate(inside).await);
    let vhost = Broker::shared().vhost();
    let with = |keys: &str| {
        let config = config(&vhost.url(), &sandbox, "").replace(&plain, &outside);
        config.replace("[providers.omeda]\n", &format!("[providers.omeda]\n{keys}"))
    };
    let told = [
        (
            String::new(),
            "authority of its certificate is not trusted here",
        ),
        (authority.ca(), "asks for a client certificate"),
        (
            authority.ca() + &next.client(),
            "does not accept the client certificate",
        ),
    ];
    for (keys, problem) in told {
        let call = Call::new(&["lookup", "omeda", "--query", r#"{"customer_id":12345}"#])
            .config(&with(&keys));
        let ran = call
            .env("LOOKUP__RETRY__MAX_ATTEMPTS", "1")
            .run()
            .await
            .expect(1);
        assert!(
            ran.lines()[0]["error"]["message"]
                .as_str()
                .unwrap()
                .contains(problem),
            "{problem}: {ran:?}"
        );
    }

    // From files that are renewed in place.
    let files = Authority::new();
    let copy = |from: &Authority| {
        for name in ["ca.pem", "client.pem", "client.key"] {
            fs::copy(from.file(name), files.file(name)).unwrap();
        }
    };
    copy(&next);
    let mut worker = Worker::start(&with(&(files.ca() + &files.client())));
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    let job = |id: &str| Job::json(&json!({"query": {"customer_id": 12345}})).id(id);
    client.publish("lookup.jobs", "omeda", job("in-vain")).await;
    let failed = client
        .take("lookup.results", 1, SOON)
        .await
        .remove(0)
        .json();
    assert_eq!(failed["error"]["kind"], "connection", "{failed}");
    copy(&authority);
    worker.sighup();
    worker
        .wait_for_log("the configuration was read again", 1)
        .await;
    client.publish("lookup.jobs", "omeda", job("renewed")).await;
    assert_eq!(
        client
            .take("lookup.results", 1, SOON)
            .await
            .remove(0)
            .json()["status"],
        "found"
    );
}

/// Certificates for this machine that a server may come with, and the authority to trust (PEM) for each.
fn leaf(ca: bool, called: &str, names: &[&str]) -> (CertificateParams, KeyPair) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, called);
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    (params, KeyPair::generate().unwrap())
}

/// What a lookup says of a server with this one certificate, where `trusted` is the `ca_file`.
async fn said_of(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    trusted: &str,
    protocols: &[&str],
    keys: &str,
) -> String {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    server.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().into())
        .collect();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let ca_file = tempfile::NamedTempFile::new().unwrap();
    fs::write(ca_file.path(), trusted).unwrap();
    let toml = format!(
        "[retry]\nmax_attempts = 1\n[providers.omeda]\nkind = 'omeda'\nbrand = 'B'\napp_id = 'x'\nbase_url = \
         '{base}'\nca_file = '{}'\n{keys}\n",
        ca_file.path().display()
    );
    let call = Call::new(&["lookup", "omeda", "--query", r#"{"customer_id":12345}"#]);
    let ran = call.config(&toml).run().await.expect(1);
    ran.lines()[0]["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_is_told_with_what_mends_it() {
    // As `openssl req -x509` makes one, trusted itself.
    let (params, key) = leaf(true, "a server", &["127.0.0.1"]);
    let own = params.self_signed(&key).unwrap();
    let said = said_of(own.der().clone(), &key, &own.pem(), &[], "").await;
    assert!(
        said.contains("CA:TRUE") && said.contains("CA:FALSE"),
        "{said}"
    );

    // Signed by one between it and the authority, which the server leaves out.
    let (root, root_key) = leaf(true, "an authority", &[]);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let root = Issuer::new(root, root_key);
    let (middle, middle_key) = leaf(true, "one between", &[]);
    let middle = {
        let _ = middle.signed_by(&middle_key, &root).unwrap();
        Issuer::new(middle, middle_key)
    };
    let (params, key) = leaf(false, "a server", &["127.0.0.1"]);
    let signed = params.signed_by(&key, &middle).unwrap();
    let said = said_of(signed.der().clone(), &key, &root_certificate.pem(), &[], "").await;
    assert!(
        said.contains("chain is incomplete") && said.contains("ca_file"),
        "{said}"
    );

    // Signed by an authority of the trusted one's name with another key.
    let (next, next_key) = leaf(true, "an authority", &[]);
    let next = Issuer::new(next, next_key);
    let renewed = params.signed_by(&key, &next).unwrap();
    let trusted = root_certificate.pem();
    let said = said_of(renewed.der().clone(), &key, &trusted, &[], "").await;
    assert!(said.contains("authority was renewed"), "{said}");

    let (params, key) = leaf(false, "a server", &["another.example"]);
    let other = params.signed_by(&key, &root).unwrap();
    let said = said_of(other.der().clone(), &key, &root_certificate.pem(), &[], "").await;
    assert!(said.contains("is for another name"), "{said}");
}

#[tokio::test]
async fn a_server_that_speaks_http_2_alone_is_told_where_http_1_1_is_asked_for() {
    let (root, root_key) = leaf(true, "an authority", &[]);
    let trusted = root.self_signed(&root_key).unwrap().pem();
    let root = Issuer::new(root, root_key);
    let (params, key) = leaf(false, "a server", &["127.0.0.1"]);
    let signed = params.signed_by(&key, &root).unwrap();
    let said = said_of(
        signed.der().clone(),
        &key,
        &trusted,
        &["h2"],
        "http = '1.1'",
    )
    .await;
    assert!(said.contains("another version of HTTP"), "{said}");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_by_its_key_with_what_is_wrong_and_never_quoted() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let provider = "[providers.omeda]\nkind = 'omeda'\nbrand = 'B'\napp_id = 'x'\nbase_url = 'https://a.example'\n";
    let show = |path: &Path| format!("'{}'", path.display());
    let [ca, cert, key] =
        ["ca.pem", "client.pem", "client.key"].map(|name| show(&authority.file(name)));
    let other_key = show(&stranger.file("client.key"));
    let secret = fs::read_to_string(authority.file("client.key"))
        .unwrap()
        .lines()
        .nth(1)
        .unwrap()
        .to_owned();
    let damaged = authority.file("damaged.pem");
    fs::write(
        &damaged,
        "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let damaged = show(&damaged);
    let cases = [
        (
            "ca_file = '/no/such/file'\n".to_owned(),
            "ca_file",
            "/no/such/file cannot be read",
        ),
        (
            format!("ca_file = {key}\n"),
            "ca_file",
            "holds no certificate",
        ),
        (
            format!("ca_file = {damaged}\n"),
            "ca_file",
            "certificate 1 of",
        ),
        (
            format!("client_cert_file = {cert}\n"),
            "client_key_file",
            "missing key",
        ),
        (
            format!("client_key_file = {key}\n"),
            "client_cert_file",
            "missing key",
        ),
        (
            format!("client_cert_file = {cert}\nclient_key_file = {ca}\n"),
            "client_key_file",
            "holds no private key",
        ),
        (
            format!("client_cert_file = {cert}\nclient_key_file = {other_key}\n"),
            "client_key_file",
            "not the key of",
        ),
    ];
    for (keys, key, problem) in cases {
        for (path, toml) in [
            ("providers.omeda", format!("{provider}{keys}")),
            (
                "amqp",
                format!("[amqp]\nurl = 'amqps://a.example'\n{keys}\n{provider}"),
            ),
        ] {
            let ran = Call::new(&["pipe"]).config(&toml).run().await.expect(2);
            assert!(
                ran.err.contains(&format!("`{path}.{key}`")) && ran.err.contains(problem),
                "{problem}: {ran:?}"
            );
            assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
            assert!(
                !ran.err.contains(&secret) && !ran.err.contains("aHVudGVy"),
                "{ran:?}"
            );
        }
    }
    let toml = format!("[amqp]\nurl = 'amqp://a.example'\nca_file = {ca}\n{provider}");
    let ran = Call::new(&["pipe"]).config(&toml).run().await.expect(2);
    assert!(
        ran.err.contains("`amqp.ca_file`") && ran.err.contains("expected amqps://"),
        "{ran:?}"
    );
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_broker_that_accepts_and_says_nothing_costs_no_thread_for_each_attempt() {
    // Nobody takes them from its backlog.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let worker = Worker::start(&format!(
        "[amqp]\nurl = 'amqps://127.0.0.1:{port}'\n[providers.plume]\nkind = 'plume'\n\
         base_url = 'http://127.0.0.1:9'\ntoken = 'none'\n"
    ));
    worker.wait_for_log("no answer within", 4).await;
    let threads = fs::read_dir(format!("/proc/{}/task", worker.pid().as_raw_nonzero()));
    let threads = threads.expect("its threads").count();
    assert!(threads < 5, "{threads} threads after four attempts");
}
