package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// libraryFile is the file name that `make engine` unpacks.
const libraryFile = "libchdb.so"

// libraryEnv names the library when the configuration does not.
const libraryEnv = "AMBIT_CLICKHOUSE_LIBRARY"

// Find returns the absolute path of libchdb.so. A path that is configured, or
// else named by AMBIT_CLICKHOUSE_LIBRARY, is taken as it is and must exist;
// otherwise Find looks beside the running binary, in .cache of the working
// folder and in .cache beside the binary's folder, in this order.
func Find(configured string) (string, error) {
	if errNoEngine != nil {
		return "", errNoEngine
	}
	binary, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own binary: %w", err)
	}
	return find(configured, os.Getenv(libraryEnv), binary)
}

func find(configured, env, binary string) (string, error) {
	for _, named := range []struct{ path, by string }{{configured, "clickhouse.library"}, {env, libraryEnv}} {
		if named.path == "" {
			continue
		}
		path, err := regularFile(named.path)
		if err != nil {
			return "", fmt.Errorf("open ClickHouse library named by %s: %w; correct the path or run `make engine`", named.by, err)
		}
		return path, nil
	}
	beside := filepath.Dir(binary)
	for _, path := range []string{
		filepath.Join(beside, libraryFile),
		filepath.Join(".cache", libraryFile),
		filepath.Join(filepath.Dir(beside), ".cache", libraryFile),
	} {
		if found, err := regularFile(path); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("find ClickHouse library %s: not beside %s and not in .cache; run `make engine`, or set clickhouse.library or %s",
		libraryFile, binary, libraryEnv)
}

func regularFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", &os.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	return filepath.Abs(path)
}
