//! `man`: the manual's pages.

use clap::CommandFactory;
use cwlake::cli::{Cli, ManArgs};
use cwlake::exit::Usage;

/// What the arguments do not say; in roff.
const MORE: &str = r".SH ENVIRONMENT
.TP
\fBCWLAKE_CONFIG\fR
The configuration file, for \fB--config\fR.
.TP
\fBCWLAKE_SHARD\fR, \fBCWLAKE_SHARDS\fR, \fBCWLAKE_GROUP\fR
Which shard of which group a process is, where its engine does not say so.
.TP
\fBCWLAKE_METRICS_FILE\fR
Where the figures of a run go, for \fB--metrics-file\fR.
.TP
\fBCWLAKE_LOG\fR
Level of the log lines on stderr, such as \fBdebug\fR.
.TP
\fBNO_COLOR\fR, \fBCOLUMNS\fR
No colours; how wide the screen is.
.TP
\fBAWS_PROFILE\fR, \fBAWS_REGION\fR, \fBAWS_ENDPOINT_URL\fR, \fBHTTPS_PROXY\fR, \fBAWS_CA_BUNDLE\fR and others
As every AWS SDK reads them.
.SH FILES
.TP
\fIcwlake.toml\fR
The configuration, in the working directory; \fBcwlake init\fR writes one and \fBcwlake schema\fR describes it.
.TP
\fILAKE/TABLE/dt=DAY/\fR
The tables, a file each day, account and region.
.TP
\fILAKE/_cwlake/\fR
Manifests, reports of runs and the lock.
.SH EXIT STATUS
.TP
0
Done.
.TP
1
A fault of cwlake's own.
.TP
2
Wrong usage or configuration; nothing was asked.
.TP
3
Finished, and something that was asked for is missing.
.TP
4
Nothing matched.
.TP
5
The destination or the network cannot be used for now.
.TP
6
No usable base credentials.
.TP
7
Another run holds the lock.
.TP
8
The budget ended it.
.TP
130, 143
A signal stopped it.
";

pub(crate) fn man(args: &ManArgs) -> anyhow::Result<u8> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    page.extend_from_slice(MORE.as_bytes());
    let Some(dir) = &args.dir else {
        super::print(&String::from_utf8_lossy(&page))?;
        return Ok(0);
    };
    let refused = |e: std::io::Error| Usage(format!("--dir: {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(refused)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(refused)?;
    std::fs::write(dir.join("cwlake.1"), page).map_err(refused)?;
    Ok(0)
}
