#!/usr/bin/env bash
# A real Slurm on this one machine, for the tests: slurmctld, virtual nodes, and accounting so that sacct answers.
#
# Needs root and Debian or Ubuntu; installs Slurm's packages where they are missing. Everything listens on loopback and
# keeps its files under ROOT, but /etc/slurm, which Slurm's commands read. May be called again; down.sh ends it.
#
#   NODES (2), CPUS (2), MEM (4000)   how many nodes, cores and MiB of each
#   GPUS (0)                          pretended ones of each node: devices that do nothing
#   GRACE (15)                        seconds between a preempted job's signals and its end
#   CRED (12)                         seconds before a requeued job starts again (Slurm's own default is 120)
#   ACCT (1)                          0: without accounting, and so without MariaDB
#   ROOT (/tmp/dlrun-slurm)           state, logs, process ids
#
# Partitions: `main`, and `high`, which preempts main's jobs and has them requeued.
set -euo pipefail

NODES=${NODES:-2} CPUS=${CPUS:-2} MEM=${MEM:-4000} GPUS=${GPUS:-0} ACCT=${ACCT:-1} GRACE=${GRACE:-15} CRED=${CRED:-12}
ROOT=${ROOT:-${TMPDIR:-/tmp}/dlrun-slurm} CONF=/etc/slurm/slurm.conf PORT=13306
MARK="# written by dlrun's scripts/slurm/up.sh, removed by down.sh"
host=$(hostname -s)

fail() { echo "slurm: $*" >&2; exit 1; }
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }
wait_for() { # wait_for SECONDS COMMAND...: until the command succeeds
    local tries=$(($1 * 4)); shift
    for _ in $(seq "$tries"); do "$@" >/dev/null 2>&1 && return; sleep 0.25; done
    tail -n 5 "$ROOT"/log/*.log >&2 || true
    fail "this never succeeded: $*"
}

[ "$(id -u)" = 0 ] || fail "only root can start one"

# Packages. Their own services stay off where there is no systemd; elsewhere: systemctl disable --now slurmctld slurmd
programs="slurmctld slurmd sbatch munged" packages="slurmctld slurmd slurm-client munge"
if [ "$ACCT" = 1 ]; then
    programs+=" slurmdbd mariadbd mariadb-admin mariadb-install-db"
    packages+=" slurmdbd mariadb-server-core mariadb-client-core mariadb-client"
fi
# shellcheck disable=SC2086
if ! command -v $programs >/dev/null || [ "$(command -v $programs | wc -l)" -lt "$(wc -w <<<"$programs")" ]; then
    command -v apt-get >/dev/null || fail "these programs are needed: $programs"
    log=$(mktemp)
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages; } \
        >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "cannot install $packages"; }
fi
[ ! -e "$CONF" ] || grep -qF "$MARK" "$CONF" || fail "$CONF is of another Slurm: it is left alone"
getent hosts "$host" >/dev/null || echo "127.0.0.1 $host" >>/etc/hosts
mkdir -p "$ROOT"/{state,log,run,spool} /run/munge /var/log/munge /etc/slurm
chmod 755 "$ROOT" "$ROOT"/*

# munge, by which Slurm's daemons know each other
chown munge:munge /run/munge /var/log/munge
if [ ! -s /etc/munge/munge.key ]; then
    (umask 077 && head -c 128 /dev/urandom >/etc/munge/munge.key)
    chown munge: /etc/munge/munge.key
fi
munge -n </dev/null >/dev/null 2>&1 || setpriv --reuid munge --regid munge --clear-groups /usr/sbin/munged
wait_for 10 sh -c 'munge -n </dev/null | unmunge'

# slurm.conf
gpu_type="" gpus=""
: >"$ROOT/gres.conf"
if [ "$GPUS" -gt 0 ]; then
    for i in $(seq 0 $((GPUS - 1))); do # Slurm wants character devices: each a twin of /dev/null
        [ -c "$ROOT/run/gpu$i" ] || mknod -m 666 "$ROOT/run/gpu$i" c 1 3
        echo "Name=gpu File=$ROOT/run/gpu$i" >>"$ROOT/gres.conf"
    done
    gpu_type="GresTypes=gpu" gpus="Gres=gpu:$GPUS"
fi
accounting="AccountingStorageType=accounting_storage/none"
[ "$ACCT" = 0 ] || accounting="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1"
{
    cat <<END
$MARK
ClusterName=dlrun
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=cred_expire=$CRED
StateSaveLocation=$ROOT/state
SlurmdSpoolDir=$ROOT/spool/%n
SlurmctldPidFile=$ROOT/run/slurmctld.pid
SlurmdPidFile=$ROOT/run/slurmd-%n.pid
SlurmctldLogFile=$ROOT/log/slurmctld.log
SlurmdLogFile=$ROOT/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
$accounting
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=2,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
MinJobAge=3600
KillWait=3
ReturnToService=2
SlurmdTimeout=10
$gpu_type
END
    for i in $(seq "$NODES"); do
        echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((17000 + i)) CPUs=$CPUS RealMemory=$MEM $gpus"
    done
    echo "PartitionName=main Nodes=n[1-$NODES] Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=$GRACE"
    echo "PartitionName=high Nodes=n[1-$NODES] PriorityTier=10 PreemptMode=OFF"
} >"$ROOT/slurm.conf"
if ! cmp -s "$ROOT/slurm.conf" "$CONF"; then
    for pid in "$ROOT"/run/slurmd-*.pid "$ROOT/run/slurmctld.pid"; do # of another shape
        alive "$pid" || continue
        kill "$(cat "$pid")" && wait_for 20 sh -c "! kill -0 $(cat "$pid")"
    done
    cp "$ROOT/gres.conf" /etc/slurm/gres.conf
    cp "$ROOT/slurm.conf" "$CONF"
fi

# MariaDB and slurmdbd, for sacct
if [ "$ACCT" = 1 ]; then
    socket=$ROOT/run/db.sock
    if ! alive "$ROOT/run/mariadb.pid"; then
        [ -d "$ROOT/db/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$ROOT/db" \
            --auth-root-authentication-method=socket --skip-test-db >"$ROOT/log/db-install.log" 2>&1
        setsid mariadbd --no-defaults --user=root --datadir="$ROOT/db" --bind-address=127.0.0.1 --port=$PORT \
            --socket="$socket" --pid-file="$ROOT/run/mariadb.pid" --innodb-buffer-pool-size=64M \
            --innodb-lock-wait-timeout=900 >"$ROOT/log/mariadb.log" 2>&1 </dev/null &
        wait_for 30 mariadb-admin --no-defaults -S "$socket" -u root ping
        mariadb --no-defaults -S "$socket" -u root -e "CREATE DATABASE IF NOT EXISTS slurm;
            CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'slurm', slurm@localhost IDENTIFIED BY 'slurm';
            GRANT ALL ON slurm.* TO slurm@'127.0.0.1', slurm@localhost"
    fi
    (umask 077 && cat >/etc/slurm/slurmdbd.conf) <<END
$MARK
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$PORT
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
PidFile=$ROOT/run/slurmdbd.pid
LogFile=$ROOT/log/slurmdbd.log
END
    alive "$ROOT/run/slurmdbd.pid" || slurmdbd
    wait_for 30 sacctmgr -n show cluster
    sacctmgr -n show cluster dlrun format=cluster | grep -q dlrun || sacctmgr -Q -i add cluster dlrun >/dev/null
fi

alive "$ROOT/run/slurmctld.pid" || slurmctld
for i in $(seq "$NODES"); do alive "$ROOT/run/slurmd-n$i.pid" || slurmd -N "n$i"; done
wait_for 30 sh -c "[ \$(sinfo -h -N -p main -o %t | grep -cE '^(idle|mix|alloc)\$') = $NODES ]"
sinfo
