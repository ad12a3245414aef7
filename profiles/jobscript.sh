#!/bin/sh
# properties = {properties}
# How the job ends is noted in the project's folder, where it can be read when the scheduler has forgotten the job.
job=${{SLURM_JOB_ID:-${{PBS_JOBID:-${{LSB_JOBID:-$JOB_ID}}}}}}
trap 'code=$?; echo $code > ".snakemake/cluster/ended/$job.new" && mv ".snakemake/cluster/ended/$job.new" ".snakemake/cluster/ended/$job"; exit $code' EXIT
{exec_job}
