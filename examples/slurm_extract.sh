#!/usr/bin/env bash
# Extracts features with a SLURM array: one task a GPU, each a part of one extraction, into one cache on a shared disk.
#
#     sbatch --array=0-63 examples/slurm_extract.sh DATA CACHE --unet SOURCE --text-encoder SOURCE --batch-size 32
#
# Everything after CACHE goes to `textdiff extract-features` as it is. A task that was killed, preempted or timed out is
# submitted again with its number alone (sbatch --array=17 ... with TEXTDIFF_PARTS=64); what is finished is not done
# again. The last task to end makes the cache whole. With --pca, let task 0 begin first:
#
#     first=$(sbatch --parsable --array=0 --export=ALL,TEXTDIFF_PARTS=64 examples/slurm_extract.sh ...)
#     sbatch --array=1-63 --dependency=after:$first+10 --export=ALL,TEXTDIFF_PARTS=64 examples/slurm_extract.sh ...
#
#SBATCH --job-name=textdiff
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=textdiff-%A_%a.log
set -euo pipefail
if [[ $# -lt 2 || -z ${SLURM_ARRAY_TASK_ID:-} ]]; then
    echo "usage: sbatch --array=0-63 $0 DATA CACHE [options of textdiff extract-features]" >&2
    exit 2
fi
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-8}
parts=${TEXTDIFF_PARTS:-${SLURM_ARRAY_TASK_COUNT:?}}
exec textdiff extract-features "$@" --num-parts "$parts" --part-id "$SLURM_ARRAY_TASK_ID"
