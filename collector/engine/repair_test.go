package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRepairDeduplication(t *testing.T) {
	for name, f := range map[string]struct {
		parts []string
		logs  map[string]string
		want  map[string]string // appended
	}{
		"all committed": {
			parts: []string{"all_1_3_1", "all_4_4_0"},
			logs:  map[string]string{"deduplication_log_1.txt": "1\tall_1_1_0\ta\n1\tall_4_4_0\tb\n"},
		},
		"last is lost": {
			parts: []string{"all_1_1_0", "tmp_insert_all_2_2_0", "delete_tmp_all_2_2_0", "detached"},
			logs:  map[string]string{"deduplication_log_1.txt": "1\tall_1_1_0\ta\n1\tall_2_2_0\tb\n"},
			want:  map[string]string{"deduplication_log_1.txt": "2\tall_2_2_0\tb\n"},
		},
		"lost in one partition, by number of the log": {
			parts: []string{"20261121_1_1_0", "20261122_7_7_0_9"},
			logs: map[string]string{
				"deduplication_log_9.txt":  "1\t20261121_1_1_0\ta\n1\t20261121_8_8_0\tb\n",
				"deduplication_log_10.txt": "1\t20261122_7_7_0\tc\n",
			},
			want: map[string]string{"deduplication_log_10.txt": "2\t20261121_8_8_0\tb\n"},
		},
		"taken back before": {
			parts: []string{"all_1_1_0"},
			logs:  map[string]string{"deduplication_log_1.txt": "1\tall_2_2_0\tb\n2\tall_2_2_0\tb\n"},
		},
		"lost and torn": {
			parts: []string{"all_1_1_0"},
			logs:  map[string]string{"deduplication_log_1.txt": "1\tall_2_2_0\tb\n1\tall_3"},
			want:  map[string]string{"deduplication_log_1.txt": "2\tall_2_2_0\tb\n"},
		},
		"torn and foreign lines": {
			parts: []string{"all_1_1_0"},
			logs:  map[string]string{"deduplication_log_1.txt": "x\n1\tall_1_1_0\ta\n1\tall_2"},
		},
		"no log": {parts: []string{"all_1_1_0"}},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			table := filepath.Join(data, "store", "123", "12345")
			for _, part := range f.parts {
				if err := os.MkdirAll(filepath.Join(table, part), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			logs := filepath.Join(table, "deduplication_logs")
			if err := os.MkdirAll(logs, 0o700); err != nil {
				t.Fatal(err)
			}
			for file, text := range f.logs {
				if err := os.WriteFile(filepath.Join(logs, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			n, err := repairDeduplication(data)
			if err != nil {
				t.Fatal(err)
			}
			wantN := 0
			for file, text := range f.logs {
				got, err := os.ReadFile(filepath.Join(logs, file))
				if err != nil {
					t.Fatal(err)
				}
				if f.want[file] != "" {
					text = text[:strings.LastIndexByte(text, '\n')+1]
				}
				if string(got) != text+f.want[file] {
					t.Errorf("%s is\n%s\nwant\n%s", file, got, text+f.want[file])
				}
				wantN += strings.Count(f.want[file], "\n")
			}
			if n != wantN {
				t.Errorf("took back %d entries, want %d", n, wantN)
			}
			if again, err := repairDeduplication(data); again != 0 || err != nil {
				t.Errorf("second repair took back %d entries: %v", again, err)
			}
		})
	}
}

func FuzzParsePart(f *testing.F) {
	for _, seed := range []string{"all_1_1_0", "20261122_1_20_3_25", "tmp_insert_all_1_1_0", "a_2_1_0", "detached"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		partition, first, last, ok := parsePart(name)
		if ok && (first > last || !strings.HasPrefix(name, partition+"_")) {
			t.Fatalf("%q gives %q %d %d", name, partition, first, last)
		}
	})
}
