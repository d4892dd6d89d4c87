package store

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Errors that callers tell apart.
var (
	ErrNotFound    = errors.New("not found")
	ErrCursor      = errors.New("cursor is not one that was given out")
	ErrUnreachable = errors.New("not reachable") // worth trying again

	// ErrRefused means that these rows were not taken and will not be: trying again is of no use, but other rows may be taken.
	ErrRefused = errors.New("refused")
)

// place is what to call the database in an error, and what to tell its owner.
type place struct {
	name     string
	database string
	user     string
	remedy   string // when nobody answers
}

func placeOf(c *Config) place {
	p := place{name: "clickhouse at " + strings.Join(c.Addresses, ", "), database: c.Database, user: c.Username,
		remedy: "check clickhouse.addresses and that the server runs"}
	if c.Socket != "" {
		p.name = "clickhouse engine at " + c.Socket
		p.remedy = "check that ambit clickhouse runs"
	}
	return p
}

// Codes of ClickHouse (src/Common/ErrorCodes.cpp).
const (
	codeUnknownDatabase      = 81
	codeUnknownTable         = 60
	codeShardAway            = 279
	codeTimeout              = 159
	codeTooSlow              = 160
	codeTooManyQueries       = 202
	codeMemory               = 241
	codeUnknownUser          = 192
	codeWrongPassword        = 193
	codeRequiredPassword     = 194
	codeAccessDenied         = 497
	codeAuthenticationFailed = 516
)

// explain makes one line of an error, with what can be done about it where that is known.
func (s *Store) explain(doing string, err error) error {
	var exception *clickhouse.Exception
	if errors.As(err, &exception) {
		text := firstLine(exception.Message)
		switch exception.Code {
		case codeUnknownDatabase:
			return fmt.Errorf("%s: %s has no database %s: create it with CREATE DATABASE %s", doing, s.where.name, s.where.database, s.where.database)
		case codeShardAway:
			return fmt.Errorf("%s: a shard of %s is %w: %s: check that one of its replicas runs", doing, s.where.name, ErrUnreachable, lastLine(exception.Message))
		case codeTimeout, codeTooSlow:
			return fmt.Errorf("%s: %w: %s", doing, ErrTooLong, text)
		case codeMemory:
			return fmt.Errorf("%s: %w: %s", doing, ErrTooLarge, text)
		case codeTooManyQueries:
			return fmt.Errorf("%s: %w: %s", doing, ErrBusy, text)
		case codeUnknownUser, codeWrongPassword, codeRequiredPassword, codeAuthenticationFailed:
			return fmt.Errorf("%s: %s refuses user %s: check clickhouse.username and clickhouse.password_file", doing, s.where.name, s.where.user)
		case codeAccessDenied:
			return fmt.Errorf("%s: user %s may not do this on %s: %s", doing, s.where.user, s.where.name, text)
		case codeUnknownTable:
			return fmt.Errorf("%s: %s lacks a table of Ambit: start ambit up or ambit collector once, which makes them: %s", doing, s.where.name, text)
		}
		return fmt.Errorf("%s: clickhouse code %d: %s", doing, exception.Code, text)
	}
	var network *net.OpError
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		cause := err
		if network != nil {
			cause = network.Err
		}
		return fmt.Errorf("%s: %s is %w: %w: %s", doing, s.where.name, ErrUnreachable, cause, s.where.remedy)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// explainInsert tells what is the fault of the rows from what is not.
func (s *Store) explainInsert(doing string, err error) error {
	var exception *clickhouse.Exception
	if errors.As(err, &exception) && !passing[exception.Code] {
		return fmt.Errorf("%s: %w: clickhouse code %d: %s", doing, ErrRefused, exception.Code, firstLine(exception.Message))
	}
	return s.explain(doing, err)
}

// explainStream is explainInsert for errors of which some are explained already.
func (s *Store) explainStream(doing string, err error) error {
	if err == nil || errors.Is(err, ErrRefused) {
		return err
	}
	return s.explainInsert(doing, err)
}

// lastLine is what was tried last, of all that ClickHouse lists.
func lastLine(s string) string {
	last := firstLine(s)
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "Code: ") {
			last = line
		}
	}
	return last
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
