//! One conformance suite over all stores. The one in a bucket needs a real S3 server: `./tests/run` starts one and names it in
//! `CWLAKE_TEST_S3`; without it those tests are shown as ignored.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cwlake::aws::{BaseSession, Origin, StorageClient};
use cwlake::config::{Destination, Environment, ExportConfig, Overrides, load};
use cwlake::model::{Claim, Day, GroupName, Member, Shard};
use cwlake::store::{
    AcquireError, Held, Holder, LocalStore, MemoryStore, S3Store, Store, StoreErrorKind,
};
use cwlake::write::Staged;
use sha2::{Digest, Sha256};

use crate::lab::{CALLER, CONFIG};

/// The S3 server's address, and a prefix that no other test uses.
pub(crate) fn s3_url() -> String {
    std::env::var("CWLAKE_TEST_S3").expect("CWLAKE_TEST_S3: run ./tests/run")
}

/// A configuration that writes to the test server below a prefix of its own; `extra` are further keys of `[destination]`.
pub(crate) fn s3_config(config: &str, prefix: &str, extra: &str) -> String {
    let keys = format!(
        "url = \"s3://probe/{prefix}\"\nendpoint_url = \"{}\"\npath_style = true\nregion = \"us-east-1\"\n{extra}\n[run]\nspool_dir = \"spool\"",
        s3_url()
    );
    config.replacen("url = \"lake\"\n[run]", &keys, 1)
}

/// As the tests and the emulator do, and nothing of the environment.
pub(crate) fn origin(access_key_id: &str) -> Origin {
    Origin::Emulator {
        url: "http://127.0.0.1:9".to_owned(),
        access_key_id: access_key_id.to_owned(),
    }
}

pub(crate) async fn s3_store_as(config: &str, access_key_id: &str) -> S3Store {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("cwlake.toml");
    std::fs::write(&path, config).expect("written");
    let config: ExportConfig = load(&path, &Overrides::default(), &Environment::default())
        .unwrap_or_else(|e| panic!("{e}"));
    let base = BaseSession::load(&origin(access_key_id), &config)
        .await
        .expect("credentials");
    let Destination::S3(settings) = &config.destination else {
        panic!("an S3 destination")
    };
    S3Store::new(
        StorageClient::new(&base, settings, &config.limits),
        (**settings).clone(),
    )
}

pub(crate) async fn s3_store(prefix: &str, extra: &str) -> S3Store {
    s3_store_as(&s3_config(CONFIG, prefix, extra), CALLER).await
}

fn staged(dir: &Path, body: &[u8]) -> Staged {
    let staging = dir.join("_cwlake/staging");
    std::fs::create_dir_all(&staging).expect("folder");
    let path: PathBuf = staging.join("file.part");
    std::fs::write(&path, body).expect("written");
    let sha256 = Sha256::digest(body)
        .iter()
        .fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
    Staged {
        path,
        rows: 1,
        bytes: body.len() as u64,
        sha256,
    }
}

const UNIT: &str = "metrics/dt=2026-11-20/111122223333_us-east-1_0000.parquet";

/// What every store promises.
async fn conforms(store: Arc<dyn Store>, dir: &Path) {
    objects(&*store).await;
    publishing(&*store, dir).await;
    listing(&*store).await;
    locking(&*store).await;
    shards(&*store).await;
    races(&store).await;
    store.prove_writable("metrics").await.expect("writable");
    let held = acquire(&*store, "sweeps", &Claim::nothing())
        .await
        .expect("free");
    store.sweep(&*held).await.expect("swept");
    held.release().await;
    let left: Vec<String> = keys(&*store, "metrics/").await;
    assert_eq!(
        left,
        [UNIT],
        "neither a probe nor a sweep leaves or takes anything"
    );
}

async fn objects(store: &dyn Store) {
    assert!(store.get("_cwlake/none").await.expect("asked").is_none());
    assert!(
        store
            .tail("_cwlake/none", 10)
            .await
            .expect("asked")
            .is_none()
    );
    store
        .delete("_cwlake/none")
        .await
        .expect("nothing to remove");
    for body in ["one", "another"] {
        store
            .put("_cwlake/x", Bytes::from(body))
            .await
            .expect("put");
        let got = store.get("_cwlake/x").await.expect("got");
        assert_eq!(got.as_deref(), Some(body.as_bytes()), "replaced");
    }
    let tail = store
        .tail("_cwlake/x", 4)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!((tail.size, &tail.bytes[..]), (7, &b"ther"[..]));
    let all = store
        .tail("_cwlake/x", 100)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!((all.size, &all.bytes[..]), (7, &b"another"[..]));
    store.delete("_cwlake/x").await.expect("removed");
    assert!(store.get("_cwlake/x").await.expect("asked").is_none());
}

async fn publishing(store: &dyn Store, dir: &Path) {
    let scratch = dir.join("scratch");
    assert!(store.open(UNIT, &scratch).await.expect("asked").is_none());
    // Small, larger than two parts of an upload, and small again over the large one.
    let large: Vec<u8> = (0..20_000_000_u32).map(|i| (i % 251) as u8).collect();
    for body in [&b"small"[..], &large[..], &b"PAR1"[..]] {
        let file = staged(dir, body);
        store.publish(UNIT, &file).await.expect("published");
        assert!(!file.path.exists(), "the staged file is gone");
        let path = store
            .open(UNIT, &scratch)
            .await
            .expect("opened")
            .expect("there");
        assert!(
            std::fs::read(path).expect("read") == body,
            "{} bytes",
            body.len()
        );
        let tail = store.tail(UNIT, 3).await.expect("asked").expect("there");
        assert_eq!(
            (tail.size, &tail.bytes[..]),
            (body.len() as u64, &body[body.len() - 3..])
        );
    }
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let entries = store.list(prefix).await.expect("listed");
    entries.into_iter().map(|e| e.key).collect()
}

async fn listing(store: &dyn Store) {
    assert_eq!(keys(store, "none/").await, [] as [String; 0]);
    let mut expected = Vec::new();
    for n in 0..30 {
        let key = format!("_cwlake/list/{}/{n:02}", n % 3);
        store.put(&key, Bytes::from("12345")).await.expect("put");
        expected.push(key);
    }
    expected.sort();
    assert_eq!(keys(store, "_cwlake/list/").await, expected);
    let entries = store.list("_cwlake/list/1/").await.expect("listed");
    assert_eq!(entries.len(), 10);
    assert!(entries.iter().all(|e| e.bytes == 5), "{entries:?}");
}

/// The metrics of November from one day to another.
fn days(first: u32, last: u32) -> Claim {
    let day = |n| Day::parse(&format!("2026-11-{n:02}")).expect("a day");
    Claim::nothing().and("metrics", day(first), day(last))
}

fn shard(text: &str) -> Claim {
    let member = Member {
        group: GroupName::parse("nightly").expect("a name"),
        shard: Shard::parse(text).expect("a shard"),
    };
    Claim {
        member: Some(member),
        ..days(1, 30)
    }
}

async fn acquire(
    store: &dyn Store,
    run: &str,
    claim: &Claim,
) -> Result<Box<dyn Held>, AcquireError> {
    store.acquire(&Holder::of_this_process(run), claim).await
}

/// Somebody named has some of what is wanted.
async fn is_taken(store: &dyn Store, claim: &Claim, by: &str) {
    match acquire(store, "another", claim).await {
        Err(AcquireError::Taken { holder, .. }) => assert!(holder.contains(by), "{holder}"),
        other => panic!("{other:?}"),
    }
}

async fn locking(store: &dyn Store) {
    let first = acquire(store, "run-1", &days(20, 26)).await.expect("free");
    assert!(first.is_alone().await.expect("looked"));
    is_taken(store, &days(26, 30), "run-1").await;
    is_taken(store, &Claim::everything(), "run-1").await;
    is_taken(store, &shard("1/2"), "run-1").await;
    let beside = acquire(store, "run-2", &days(1, 19))
        .await
        .expect("other days");
    assert!(!beside.is_alone().await.expect("looked"));
    let looking = acquire(store, "doctor", &Claim::nothing())
        .await
        .expect("nothing");
    looking.release().await;
    // What is claimed later is claimed against the same others.
    assert!(beside.widen(&days(1, 20)).await.is_err());
    is_taken(store, &days(19, 19), "run-2").await;
    first.release().await;
    beside.widen(&days(1, 20)).await.expect("free now");
    is_taken(store, &days(20, 20), "run-2").await;
    assert!(!beside.lost().is_cancelled() && beside.is_held(true).await);
    beside.release().await;
    let again = acquire(store, "run-3", &Claim::everything())
        .await
        .expect("free again");
    assert!(again.is_alone().await.expect("looked"));
    again.release().await;
}

async fn shards(store: &dyn Store) {
    let one = acquire(store, "run-1", &shard("1/3")).await.expect("free");
    let two = acquire(store, "run-2", &shard("2/3"))
        .await
        .expect("beside it");
    is_taken(store, &shard("1/3"), "run-1").await;
    is_taken(store, &shard("3/4"), "run-").await;
    is_taken(store, &days(30, 30), "run-").await;
    one.release().await;
    let again = acquire(store, "run-3", &shard("1/3"))
        .await
        .expect("tried again");
    again.release().await;
    two.release().await;
    acquire(store, "run-4", &days(1, 30))
        .await
        .expect("free")
        .release()
        .await;
}

/// Of many that come at once no two have the same.
async fn races(store: &Arc<dyn Store>) {
    let held = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let tasks = (1..7).map(|n| {
        let (store, held) = (Arc::clone(store), Arc::clone(&held));
        tokio::spawn(async move {
            let Ok(lock) = acquire(&*store, &format!("run-{n}"), &days(n, 26)).await else {
                return 0;
            };
            let others = held.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            assert_eq!(others, 0, "two have the 26th");
            tokio::time::sleep(Duration::from_millis(100)).await;
            held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            lock.release().await;
            1
        })
    });
    let mut entered = 0;
    for task in tasks.collect::<Vec<_>>() {
        entered += task.await.expect("ended");
    }
    assert!(entered >= 1, "one of them at least had it");
}

/// Two programs that read an object and write it: the second is told that what it read is no longer there.
async fn writes_by_two(ours: &dyn Store, theirs: &dyn Store, dir: &Path) {
    let key = "_cwlake/both";
    for store in [ours, theirs] {
        assert_eq!(store.get(key).await.expect("asked"), None);
    }
    ours.put(key, Bytes::from("ours")).await.expect("put");
    let late = theirs
        .put(key, Bytes::from("theirs"))
        .await
        .expect_err("late");
    assert_eq!(late.kind, StoreErrorKind::Changed, "{late}");
    assert_eq!(
        theirs.get(key).await.expect("asked"),
        Some(Bytes::from("ours"))
    );
    theirs
        .put(key, Bytes::from("theirs"))
        .await
        .expect("seen now");
    let late_file = staged(dir, b"a file");
    let late = ours.publish(key, &late_file).await.expect_err("late");
    assert_eq!(late.kind, StoreErrorKind::Changed, "{late}");
    ours.get(key).await.expect("asked");
    ours.publish(key, &staged(dir, b"a file"))
        .await
        .expect("seen now");
    assert_eq!(
        theirs.get(key).await.expect("asked"),
        Some(Bytes::from("a file"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    let dir = tempfile::tempdir().expect("temp dir");
    conforms(Arc::new(MemoryStore::new()), dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_folder_conforms() {
    let dir = tempfile::tempdir().expect("temp dir");
    conforms(Arc::new(LocalStore::new(dir.path())), dir.path()).await;
    let (ours, theirs) = (LocalStore::new(dir.path()), LocalStore::new(dir.path()));
    writes_by_two(&ours, &theirs, dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the S3 server that ./tests/run starts"]
async fn a_bucket_conforms() {
    let dir = tempfile::tempdir().expect("temp dir");
    conforms(Arc::new(s3_store("conforms", "").await), dir.path()).await;
    let (ours, theirs) = (
        s3_store("conforms", "").await,
        s3_store("conforms", "").await,
    );
    writes_by_two(&ours, &theirs, dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the S3 server that ./tests/run starts"]
async fn a_bucket_conforms_without_checksums_and_with_every_option() {
    let dir = tempfile::tempdir().expect("temp dir");
    conforms(
        Arc::new(s3_store("plain", "checksums = false").await),
        dir.path(),
    )
    .await;
    let options = "storage_class = \"STANDARD_IA\"\nacl = \"bucket-owner-full-control\"";
    conforms(Arc::new(s3_store("options", options).await), dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the S3 server that ./tests/run starts"]
async fn refusals_are_told_apart_with_their_remedy() {
    let denied = s3_store_as(&s3_config(CONFIG, "denied", ""), "111100009999").await;
    let error = denied
        .put("_cwlake/x", Bytes::new())
        .await
        .expect_err("denied");
    assert_eq!(error.kind, StoreErrorKind::NotAllowed, "{error}");
    assert!(
        error
            .hint
            .as_deref()
            .is_some_and(|h| h.contains("s3:PutObject")),
        "{error:?}"
    );
    let stranger = s3_store_as(&s3_config(CONFIG, "denied", ""), "222200009999").await;
    let error = stranger.get("_cwlake/x").await.expect_err("denied");
    assert_eq!(error.kind, StoreErrorKind::Refused, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the S3 server that ./tests/run starts"]
async fn unfinished_uploads_of_ours_are_swept_and_others_are_not() {
    let store = s3_store("sweep", "").await;
    let client = raw_client();
    for key in [UNIT, "metrics/someone-elses.bin"] {
        client
            .create_multipart_upload()
            .bucket("probe")
            .key(format!("sweep/{key}"))
            .send()
            .await
            .expect("begun");
    }
    let beside = acquire(&store, "beside", &days(1, 2)).await.expect("free");
    let held = acquire(&store, "sweeps", &days(3, 4)).await.expect("free");
    store.sweep(&*held).await.expect("left");
    assert_eq!(
        open_uploads(&client, "sweep/").await.len(),
        2,
        "they may be another run's"
    );
    beside.release().await;
    store.sweep(&*held).await.expect("swept");
    assert_eq!(
        open_uploads(&client, "sweep/").await,
        ["sweep/metrics/someone-elses.bin"]
    );
}

pub(crate) fn raw_client() -> aws_sdk_s3::Client {
    let credentials = aws_sdk_s3::config::Credentials::new(CALLER, "emulated", None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .endpoint_url(s3_url())
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .force_path_style(true)
        .credentials_provider(credentials)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

pub(crate) async fn open_uploads(client: &aws_sdk_s3::Client, prefix: &str) -> Vec<String> {
    let answer = client
        .list_multipart_uploads()
        .bucket("probe")
        .prefix(prefix)
        .send()
        .await
        .expect("listed");
    let keys = answer.uploads().iter().filter_map(|u| u.key());
    keys.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the S3 server that ./tests/run starts"]
async fn a_lease_that_is_not_renewed_is_taken_over_and_its_holder_is_told() {
    let elsewhere = |run: &str| Holder {
        host: "another-host".to_owned(),
        incarnation: None,
        ..Holder::of_this_process(run)
    };
    let store = s3_store("lease", "lease_secs = 5").await;
    let all = Claim::everything();
    let first = store
        .acquire(&elsewhere("run-1"), &all)
        .await
        .expect("free");
    // It is renewed: longer than its life it is still held.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let taken = store.acquire(&elsewhere("run-2"), &all).await;
    let taken = taken.expect_err("held");
    assert!(taken.to_string().contains("run run-1"), "{taken}");
    // Its holder dies without a word, in a place we cannot see.
    let lost = first.lost();
    drop(first);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let second = store.acquire(&elsewhere("run-3"), &all).await;
    let second = second.expect("taken over");
    assert!(!lost.is_cancelled());
    // Somebody removes the lock by hand and another run takes it: the holder notices.
    let removed = raw_client()
        .delete_object()
        .bucket("probe")
        .key("lease/_cwlake/lock");
    removed.send().await.expect("removed");
    let third = store
        .acquire(&elsewhere("run-4"), &all)
        .await
        .expect("free");
    tokio::time::timeout(Duration::from_secs(5), second.lost().cancelled())
        .await
        .expect("the holder is told");
    third.release().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the S3 server that ./tests/run starts"]
async fn a_lock_of_an_earlier_version_has_all_of_the_lake() {
    let store = s3_store("earlier", "lease_secs = 5").await;
    let lock = r#"{"run_id": "old", "host": "another-host", "process": 1, "incarnation": null, "released": false, "renewals": 7, "seconds": 5}"#;
    store
        .put("_cwlake/lock", Bytes::from(lock))
        .await
        .expect("put");
    is_taken(&store, &days(1, 2), "run old").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let ours = acquire(&store, "new", &days(1, 2)).await.expect("it died");
    let ended = store
        .get("_cwlake/lock")
        .await
        .expect("read")
        .expect("there");
    // Its place is the first that is free.
    assert!(String::from_utf8_lossy(&ended).contains("\"run_id\": \"new\""));
    ours.release().await;
}
