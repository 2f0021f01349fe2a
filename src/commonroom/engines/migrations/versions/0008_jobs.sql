CREATE TABLE engines.job_run (
    job text PRIMARY KEY,
    ran_at timestamptz NOT NULL
);
