package engine

import (
	"flag"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestArgumentsGiveTheirConfiguration(t *testing.T) {
	want := ServerConfig{Data: "/d d", Socket: "/s", Library: "/l.so", MemoryMiB: 300, MarkCacheMiB: 5, MaxQueries: 2, MaxWaiting: 3, StopTimeout: 90 * time.Second}
	got := DefaultServerConfig()
	flags := flag.NewFlagSet("clickhouse", flag.ContinueOnError)
	got.Flags(flags)
	if err := flags.Parse(want.arguments()); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("flags give %+v, want %+v", got, want)
	}
}

func TestValidate(t *testing.T) {
	good := DefaultServerConfig()
	good.Data, good.Socket = "d", "s"
	if err := good.Validate(); err != nil {
		t.Errorf("default configuration: %v", err)
	}
	bad := ServerConfig{Socket: "/" + strings.Repeat("x", 120), MaxWaiting: -1}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"--data", "121 bytes", "--memory", "--mark-cache", "--max-queries", "--max-waiting", "--stop-timeout"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}
