package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

func (s *stage) socket() string { return filepath.Join(s.folder, "engine.sock") }

// startEngine starts the engine, and makes the database.
func (s *stage) startEngine() (err error) {
	s.engine, err = s.Start("engine", nil, s.binary, "clickhouse", "--data", filepath.Join(s.folder, "engine"), "--socket", s.socket())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	for {
		err := s.query(ctx, nil, "CREATE DATABASE IF NOT EXISTS ambit")
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.engine.Ended():
			return fmt.Errorf("the engine ended; see %s", s.engine.Log)
		case <-ctx.Done():
			return fmt.Errorf("the engine does not answer: %w", err)
		}
	}
}

// query asks the engine. rows is a pointer to a slice of structures that JSON objects with the names of the columns fit, or nil.
func (s *stage) query(ctx context.Context, rows any, sql string) error {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", s.socket())
		},
	}}
	settings := url.Values{"default_format": {"JSONEachRow"}, "output_format_json_quote_64bit_integers": {"0"}}
	if rows != nil {
		settings.Set("database", "ambit")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/?"+settings.Encode(), strings.NewReader(sql))
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("ask the engine: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("ask the engine: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the engine: %s: %.300q", answer.Status, text)
	}
	if rows == nil {
		return nil
	}
	// The engine writes each block of a large result by itself, so only forms of a row a line are whole.
	list := "[" + strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", ",") + "]"
	if err := json.Unmarshal([]byte(list), rows); err != nil {
		return fmt.Errorf("ask the engine: %w in %.300q", err, text)
	}
	return nil
}
