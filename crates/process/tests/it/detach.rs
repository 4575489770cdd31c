//! Jobs of the program itself that go on in the background.

use std::fs;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use process::{Identity, PidLock, Process, Stopped, detach};

use crate::{again, ample, inside, runs, until};

struct Reports(String);

impl Drop for Reports {
    fn drop(&mut self) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        writeln!(file, "{}", std::process::id()).unwrap();
    }
}

#[test]
fn a_job_goes_on_without_its_parent() {
    let Some(directory) = inside() else {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        // Reading to the end of its output proves that the job does not hold the pipe.
        let output = again("detach::a_job_goes_on_without_its_parent", directory.path().to_str().unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("from the job"), "{output:?}");
        let job: Identity = serde_json::from_slice(&fs::read(path("identity")).unwrap()).unwrap();
        until("it has looked", || path("seen").exists());
        assert!(job.is_alive());
        let it = Process::of(job.pid()).unwrap();
        assert_eq!((it.name.as_str(), it.session), ("vip-announce-10", job.pid()), "15 bytes of the name");
        let seen = fs::read_to_string(path("seen")).unwrap();
        assert_eq!(seen, "cwd / streams /dev/null /dev/null /dev/null others kept");
        assert_eq!(PidLock::at(path("lock")).holder().unwrap(), Some(job.pid()));
        fs::write(path("end"), "").unwrap();
        until("it ends with its job", || !runs(job.pid()));
        assert_eq!(PidLock::at(path("lock")).holder().unwrap(), None);
        let dropped = fs::read_to_string(path("dropped")).unwrap();
        assert_eq!(dropped.lines().count(), 1, "the parent's destructors run once: {dropped}");
        assert!(fs::read_to_string(path("kept")).unwrap().starts_with("written by the job"));
        return;
    };
    let _reports = Reports(format!("{directory}/dropped"));
    print!("in the buffer of the parent, ");
    let kept = fs::File::create(format!("{directory}/kept")).unwrap();
    let _closed = fs::File::open("/dev/zero").unwrap();
    let lock = PidLock::at(format!("{directory}/lock"));
    let guard = lock.try_lock().unwrap();
    let job = detach("vip-announce-10.0.0.9", &[kept.as_fd()], || {
        println!("from the job");
        eprintln!("from the job");
        let _lock = lock.lock_until(ample()).unwrap();
        let link = |name: String| fs::read_link(format!("/proc/self/{name}")).unwrap();
        let streams: Vec<String> = (0..3).map(|fd| link(format!("fd/{fd}")).display().to_string()).collect();
        let others: Vec<_> = fs::read_dir("/proc/self/fd")
            .unwrap()
            .map(|fd| fd.unwrap().path())
            .filter_map(|fd| fs::read_link(fd).ok())
            .filter(|to| !to.starts_with("/dev/null") && !to.ends_with("lock") && !to.starts_with("/proc"))
            .map(|to| to.file_name().unwrap().display().to_string())
            .collect();
        writeln!(&kept, "written by the job").unwrap();
        let seen = format!(
            "cwd {} streams {} others {}",
            link("cwd".into()).display(),
            streams.join(" "),
            others.join(" ")
        );
        fs::write(format!("{directory}/seen.tmp"), seen).unwrap();
        fs::rename(format!("{directory}/seen.tmp"), format!("{directory}/seen")).unwrap();
        until("the end", || fs::exists(format!("{directory}/end")).unwrap());
    })
    .unwrap();
    assert_ne!(Process::of(job.pid()).unwrap().parent, std::process::id() as i32);
    fs::write(format!("{directory}/identity"), serde_json::to_vec(&job).unwrap()).unwrap();
    drop(guard);
}

#[test]
fn a_panic_in_the_job_is_quiet() {
    let Some(file) = inside() else {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let output = again("detach::a_panic_in_the_job_is_quiet", file.to_str().unwrap()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
        let pid = fs::read_to_string(&file).unwrap().parse().unwrap();
        until("it is gone", || !runs(pid));
        return;
    };
    let job = detach("panics", &[], || panic!("on purpose")).unwrap();
    fs::write(file, job.pid().to_string()).unwrap();
}

#[test]
fn a_job_is_stopped_like_a_daemon() {
    let Some(file) = inside() else {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("identity");
        let mut parent = again("detach::a_job_is_stopped_like_a_daemon", file.to_str().unwrap());
        assert!(parent.status().unwrap().success());
        let job: Identity = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert!(job.is_alive());
        assert_eq!(job.stop(Duration::from_secs(30), ample()).unwrap(), Stopped::Terminated);
        assert!(!job.is_alive());
        return;
    };
    let job = detach("sleeps", &[], || std::thread::sleep(Duration::from_secs(1000))).unwrap();
    fs::write(file, serde_json::to_vec(&job).unwrap()).unwrap();
}
