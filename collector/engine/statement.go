package engine

import (
	"bytes"
	"strings"
)

// statement is what the server must know of a query before the engine parses
// it: whether rows follow it, and whether its answer can be streamed.
type statement struct {
	text   []byte // the query; of an INSERT with rows, what stands before FORMAT
	format string // of an INSERT with rows, the format they are in; else empty
	inline []byte // of an INSERT with rows, those that follow the format's name
	stream bool   // answers with rows that are worth streaming
}

// parseStatement splits a query. It looks no further than it must: the engine
// remains the judge of what is valid.
func parseStatement(query []byte) statement {
	s := scanner{text: query}
	whole := statement{text: query}
	switch first := s.next(); {
	case first.is("SELECT"), first.is("WITH"), first.kind == '(':
		whole.stream = true
		return whole
	case !first.is("INSERT"):
		return whole
	}
	t := s.next()
	if t.is("INTO") {
		t = s.next()
	}
	if t.is("TABLE") || t.is("FUNCTION") {
		t = s.next()
	}
	// The table's name may be any word, FORMAT too.
	for t.kind == 'w' || t.kind == 'q' || t.kind == '.' {
		dot := t.kind == '.'
		t = s.next()
		if !dot && t.kind != '.' {
			break
		}
	}
	for depth := 0; t.kind != 0; t = s.next() {
		switch {
		case t.kind == '(':
			depth++
		case t.kind == ')':
			depth--
		case depth != 0:
		case t.is("SELECT"), t.is("WITH"), t.is("VALUES"), t.is("INFILE"):
			return whole
		case t.is("FORMAT"):
			name := s.next()
			if name.kind != 'w' {
				return whole
			}
			return statement{text: query[:t.at], format: string(name.text), inline: afterFormat(query[s.at:])}
		}
	}
	return whole
}

// afterFormat drops what separates a format's name from its rows: blanks and
// one line end. Binary rows begin right behind it.
func afterFormat(rest []byte) []byte {
	rest = bytes.TrimLeft(rest, " \t\r")
	return bytes.TrimPrefix(rest, []byte("\n"))
}

// token is a word ('w'), a quoted text ('q'), one other byte, or the end (0).
type token struct {
	kind byte
	at   int
	text []byte
}

func (t token) is(keyword string) bool {
	return t.kind == 'w' && strings.EqualFold(string(t.text), keyword)
}

// scanner reads SQL tokens; comments and white space are skipped.
type scanner struct {
	text []byte
	at   int
}

func (s *scanner) next() token {
	s.skip()
	if s.at >= len(s.text) {
		return token{at: len(s.text)}
	}
	start, c := s.at, s.text[s.at]
	kind := c
	switch {
	case wordByte(c):
		kind = 'w'
		for s.at < len(s.text) && wordByte(s.text[s.at]) {
			s.at++
		}
	case c == '\'' || c == '"' || c == '`':
		kind = 'q'
		s.at++
		for s.at < len(s.text) && s.text[s.at] != c {
			if s.text[s.at] == '\\' {
				s.at++
			}
			s.at++
		}
		s.at = min(s.at+1, len(s.text))
	default:
		s.at++
	}
	return token{kind, start, s.text[start:s.at]}
}

func (s *scanner) skip() {
	for s.at < len(s.text) {
		rest := s.text[s.at:]
		switch c := rest[0]; {
		case c == ' ' || c >= '\t' && c <= '\r':
			s.at++
		case bytes.HasPrefix(rest, []byte("--")), bytes.HasPrefix(rest, []byte("#!")), bytes.HasPrefix(rest, []byte("# ")):
			s.skipTo(rest, "\n")
		case bytes.HasPrefix(rest, []byte("/*")):
			s.skipTo(rest, "*/")
		default:
			return
		}
	}
}

func (s *scanner) skipTo(rest []byte, end string) {
	i := bytes.Index(rest[2:], []byte(end))
	if i < 0 {
		s.at = len(s.text)
		return
	}
	s.at += 2 + i + len(end)
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}
