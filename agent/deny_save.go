package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/ambit-nhi/ambit/agent/enforce"
	"github.com/ambit-nhi/ambit/event"
)

func (d *denier) restore(at enforce.Moment) error {
	file := d.cfg.file(denyName)
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(data) > maxDenyFile {
		err = fmt.Errorf("%s is longer than %d bytes", file, maxDenyFile)
	}
	if err != nil {
		return err
	}
	return d.engine.Restore(data, at)
}

// save hands over what is to be written down, and what is told once it is: the disk is slow, and the next decision does not wait for it. What was told as in
// force is so after a restart, too.
func (d *denier) save() {
	var data []byte
	if d.cfg.file(denyName) != "" {
		var err error
		if data, _, err = d.engine.Save(); err != nil {
			slog.Warn("cannot keep decisions for the next start", "error", err)
		}
	}
	if data == nil && len(d.telling) == 0 {
		return
	}
	next := saving{data, d.telling}
	d.telling = nil
	select {
	case old := <-d.saves: // nobody took it so far
		if next.data == nil {
			next.data = old.data
		}
		next.acks = append(old.acks, next.acks...)
	default:
	}
	d.saves <- next // nobody else sends
}

// saving is the state of the engine, nil if it is what it was, and what is told of it.
type saving struct {
	data []byte
	acks []event.Ack
}

func (d *denier) tell(a event.Ack) { d.telling = append(d.telling, a) }

// keepSaved writes down what it is given until ctx ends.
func (d *denier) keepSaved(ctx context.Context) error {
	for {
		select {
		case s := <-d.saves:
			d.kept(s)
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *denier) kept(s saving) {
	if s.data != nil {
		d.write(s.data)
	}
	for _, a := range s.acks {
		d.outbox.put(a)
	}
}

func (d *denier) write(data []byte) {
	file := d.cfg.file(denyName)
	if err := renameio.WriteFile(file, data, 0o600, renameio.WithTempDir(filepath.Dir(file))); err != nil {
		slog.Warn("cannot keep decisions for the next start", "error", err)
	}
}
