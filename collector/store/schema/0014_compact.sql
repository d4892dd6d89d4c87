-- Parts of observations are files of all columns together until they have 256 MiB, about 350,000 rows, and are merged whole until then.
--
-- An insert has some ten thousand rows of sixty columns. A part with files for each column costs buffers for each of them when it is written, and
-- again for each source when it is merged: inserting and merging took twice as much of the processor, most of it in the kernel for memory that was
-- used once. Large parts are as before: a question of a few columns reads only these, and a merge holds few columns at a time.

ALTER TABLE observations {{.OnCluster}} MODIFY SETTING min_bytes_for_wide_part = 268435456, vertical_merge_algorithm_min_bytes_to_activate = 268435456;
