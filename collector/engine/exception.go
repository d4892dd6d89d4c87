package engine

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// exception is an error as ClickHouse states it: a number, a text and a name.
type exception struct {
	code int
	text string // "DB::Exception: … (NAME)"
}

func (e *exception) Error() string { return fmt.Sprintf("Code: %d. %s", e.code, e.text) }

// The errors that the server itself raises, with ClickHouse's own numbers.
const (
	codeCannotReadAllData     = 33
	codeNotImplemented        = 48
	codeUnknownFormat         = 73
	codeUnknownSetting        = 115
	codeTooManyQueries        = 202
	codeTooManyBytes          = 307
	codeUnknownException      = 1002
	codeIncorrectData         = 117
	codeUnknownPacketEncoding = 381
)

func refuse(code int, name, format string, args ...any) *exception {
	return &exception{code, "DB::Exception: " + fmt.Sprintf(format, args...) + ". (" + name + ")"}
}

var exceptionPrefix = regexp.MustCompile(`^(?:Error: )?Code: (\d+)\. `)

// engineError makes an exception of the engine's message.
func engineError(message string) *exception {
	message = strings.TrimSpace(message)
	if m := exceptionPrefix.FindStringSubmatch(message); m != nil {
		if code, err := strconv.Atoi(m[1]); err == nil {
			return &exception{code, message[len(m[0]):]}
		}
	}
	return &exception{codeUnknownException, "DB::Exception: " + strings.TrimPrefix(message, "Error: ")}
}

// status is the HTTP status that ClickHouse gives with a code; clients branch
// on the code, proxies and people on this.
func (e *exception) status() int {
	switch e.code {
	case 60, 81, 46, 47, 16: // unknown table, database, function, identifier, column
		return http.StatusNotFound
	case 62, 6, 27, 38, 41, 53, 69, codeUnknownFormat, codeUnknownSetting, codeIncorrectData, codeCannotReadAllData, codeUnknownPacketEncoding:
		return http.StatusBadRequest
	case codeTooManyBytes:
		return http.StatusRequestEntityTooLarge
	case codeNotImplemented:
		return http.StatusNotImplemented
	case codeTooManyQueries:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
