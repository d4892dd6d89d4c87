package engine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// A table with non_replicated_deduplication_window keeps a log of the blocks
// inserted last, so that a repeated insert counts once. ClickHouse writes a
// block into that log before it commits the block's part: a process that dies
// in between leaves an entry without a part, and then the repeat, which would
// bring the rows, is taken for a duplicate. repairDeduplication takes such
// entries back. It must run before the engine opens the folder; it returns how
// many entries it took back.
func repairDeduplication(data string) (int, error) {
	logs, err := filepath.Glob(filepath.Join(data, "store", "*", "*", "deduplication_logs"))
	if err != nil {
		return 0, fmt.Errorf("find deduplication logs: %w", err)
	}
	total := 0
	for _, dir := range logs {
		n, err := repairTable(filepath.Dir(dir), dir)
		if err != nil {
			return total, fmt.Errorf("repair deduplication log %s: %w", dir, err)
		}
		total += n
	}
	return total, nil
}

func repairTable(table, logs string) (int, error) {
	files, err := logFiles(logs)
	if err != nil || len(files) == 0 {
		return 0, err
	}
	committed, err := lastBlocks(table)
	if err != nil {
		return 0, err
	}
	var lost strings.Builder
	n := 0
	entries, err := logEntries(files)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		// Block numbers are given out at commit and in order, so a part that
		// was never committed is beyond the last of its partition; one that is
		// before it was merged, or dropped on purpose.
		if e.first > committed[e.partition] {
			fmt.Fprintf(&lost, "%s\t%s\t%s\n", dropEntry, e.part, e.block)
			n++
		}
	}
	if n == 0 {
		return 0, nil
	}
	return n, appendLines(files[len(files)-1], lost.String())
}

// appendLines appends to a log, in place of a last line that was torn.
func appendLines(path, lines string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	end := int64(bytes.LastIndexByte(text, '\n') + 1)
	if err = f.Truncate(end); err == nil {
		_, err = f.WriteAt([]byte(lines), end)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// logFiles lists deduplication_log_<number>.txt by number.
func logFiles(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "deduplication_log_*.txt"))
	number := func(path string) int {
		n, _ := strconv.Atoi(strings.TrimSuffix(path[strings.LastIndexByte(path, '_')+1:], ".txt"))
		return n
	}
	sort.Slice(files, func(i, j int) bool { return number(files[i]) < number(files[j]) })
	return files, err
}

const (
	addEntry  = "1"
	dropEntry = "2"
)

type entry struct {
	part, block string
	partition   string
	first       uint64 // block number
}

// logEntries reads the entries in force, oldest first. Lines are operation,
// part and block id between tabs; lines of another form are left alone.
func logEntries(files []string) ([]entry, error) {
	inForce := map[string]entry{}
	var order []string
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Split(lines.Text(), "\t")
			if len(fields) != 3 {
				continue
			}
			switch partition, first, _, ok := parsePart(fields[1]); {
			case fields[0] == dropEntry:
				delete(inForce, fields[2])
			case fields[0] == addEntry && ok:
				inForce[fields[2]] = entry{fields[1], fields[2], partition, first}
				order = append(order, fields[2])
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return nil, err
		}
	}
	entries := make([]entry, 0, len(inForce))
	for _, block := range order {
		if e, ok := inForce[block]; ok {
			entries = append(entries, e)
			delete(inForce, block)
		}
	}
	return entries, nil
}

// lastBlocks gives the last committed block number of each partition.
func lastBlocks(table string) (map[string]uint64, error) {
	dirs, err := os.ReadDir(table)
	if err != nil {
		return nil, err
	}
	last := map[string]uint64{}
	for _, dir := range dirs {
		if dir.Type() != fs.ModeDir {
			continue
		}
		if partition, _, to, ok := parsePart(dir.Name()); ok {
			last[partition] = max(last[partition], to)
		}
	}
	return last, nil
}

// parsePart takes a part's name apart: partition_first_last_level, and a
// mutation's number behind it if there was one.
func parsePart(name string) (partition string, first, last uint64, ok bool) {
	fields := strings.Split(name, "_")
	if len(fields) != 4 && len(fields) != 5 || fields[0] == "tmp" || fields[0] == "delete" {
		return "", 0, 0, false
	}
	var numbers [4]uint64
	for i, field := range fields[1:] {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return "", 0, 0, false
		}
		numbers[i] = n
	}
	return fields[0], numbers[0], numbers[1], numbers[0] <= numbers[1]
}
