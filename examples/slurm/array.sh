#!/bin/bash
# sbatch examples/slurm/array.sh: scores eight folders of input at once, incoming/shard=0 to shard=7.
#SBATCH --job-name=scoreline
#SBATCH --array=0-7
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=02:00:00
#SBATCH --requeue
# A minute before the time limit, the run is asked to end; what it has published is kept.
#SBATCH --signal=TERM@60

root=/srv/scoring
shard="shard=${SLURM_ARRAY_TASK_ID}"
code=0
srun /opt/scoreline/bin/scoreline score --bundle "$root/bundles/wine" --log-format json \
  --input "$root/incoming/$shard/*.parquet" --output "$root/scored/$shard" || code=$?

case $code in
  71 | 74 | 75 | 129 | 130 | 143) # no memory, a failed disk, a locked output, a signal: try again, and score only what is missing
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
    ;;
esac
exit $code
