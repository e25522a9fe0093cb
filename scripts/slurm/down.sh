#!/usr/bin/env bash
# Ends the Slurm that up.sh started, with its jobs, and removes its files; the packages stay.
set -u
ROOT=${ROOT:-${TMPDIR:-/tmp}/dlrun-slurm}

grep -qs "written by dlrun's scripts/slurm/up.sh" /etc/slurm/slurm.conf || exit 0
if [ -s "$ROOT/run/slurmctld.pid" ]; then
    timeout 5 scancel --user=root >/dev/null 2>&1
    for _ in $(seq 30); do [ -z "$(timeout 5 squeue -h 2>/dev/null)" ] && break; sleep 0.5; done
fi
for file in "$ROOT"/run/slurmd-*.pid "$ROOT"/run/{slurmctld,slurmdbd,mariadb}.pid /run/munge/munged.pid; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    kill "$pid" 2>/dev/null
    for _ in $(seq 80); do kill -0 "$pid" 2>/dev/null || break; sleep 0.25; done
    kill -9 "$pid" 2>/dev/null
    rm -f "$file"
done
rm -f /etc/slurm/{slurm,slurmdbd,gres}.conf
rm -rf "$ROOT"
