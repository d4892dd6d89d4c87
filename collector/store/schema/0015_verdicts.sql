-- What to do about a finding, and all of the latest decision about it, of a person or, by the name ambit, of the detector itself: a person's verdict
-- ('' where none holds), why, who, and until when (1970 stands for no end).

ALTER TABLE findings {{.OnCluster}} ADD COLUMN IF NOT EXISTS advice Array(String) AFTER baseline;

ALTER TABLE finding_status {{.OnCluster}} ADD COLUMN IF NOT EXISTS verdict LowCardinality(String) AFTER set_time;

ALTER TABLE finding_status {{.OnCluster}} ADD COLUMN IF NOT EXISTS reason String AFTER verdict;

ALTER TABLE finding_status {{.OnCluster}} ADD COLUMN IF NOT EXISTS decided_by LowCardinality(String) AFTER reason;

ALTER TABLE finding_status {{.OnCluster}} ADD COLUMN IF NOT EXISTS until_time DateTime64(6, 'UTC') AFTER decided_by;
