package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

// parseJSON reads {"declarations": [{"identity": …}]}, or only the array.
func parseJSON(data []byte, c *collect) error {
	return eachEntry(data, "declarations", func(line int, raw json.RawMessage) error {
		fields, err := object(raw)
		if err != nil {
			c.refuse(line, "", err.Error())
			return nil
		}
		var d event.Declaration
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if err := jsonField(&d, name, fields[name]); err != nil {
				c.refuse(line, shorten(name), err.Error())
				return nil
			}
		}
		return c.take(line, d, same)
	})
}

func jsonField(d *event.Declaration, name string, raw json.RawMessage) error {
	var into any
	switch name {
	case "identity":
		text, err := text(raw)
		if err == nil {
			d.Identity, err = parseIdentity(text)
		}
		return err
	case "created", "expires":
		text, err := text(raw)
		if err != nil {
			return err
		}
		var t time.Time
		if t, err = parseTime(text); err != nil {
			return err
		}
		if name == "created" {
			d.Created = t
		} else {
			d.Expires = t
		}
		return nil
	case "kind":
		into = &d.Kind
	case "namespace":
		into = &d.Namespace
	case "name":
		into = &d.Name
	case "owner":
		into = &d.Owner
	case "purpose":
		into = &d.Purpose
	case "environment":
		into = &d.Environment
	case "domain":
		into = &d.Domain
	case "privilege":
		into = &d.Privilege
	case "privilege_reasons":
		into = &d.PrivilegeReasons
	case "tokens":
		into = &d.Tokens
	case "business_function":
		into = &d.BusinessFunction
	case "labels":
		into = &d.Labels
	case "annotations":
		into = &d.Annotations
	default:
		return errors.New("is not a field of a declaration")
	}
	if name == "labels" || name == "annotations" { // a key twice would hide a value
		if _, err := object(raw); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return jsonKind(err)
	}
	return nil
}

func text(raw json.RawMessage) (string, error) {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", jsonKind(err)
	}
	return s, nil
}

func jsonKind(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		want := kind.Type.Kind().String()
		switch want {
		case "slice":
			want = "list"
		case "map", "struct":
			want = "object"
		}
		return fmt.Errorf("is of the kind %s, want %s", kind.Value, want)
	}
	return err
}

// eachEntry visits the entries of a JSON array that stands alone or in a field of an object, with the lines where they begin.
func eachEntry(data []byte, field string, visit func(line int, raw json.RawMessage) error) error {
	array := json.RawMessage(data)
	at := 0 // where the array begins in data
	if first := bytes.TrimLeft(data, " \t\r\n"); len(first) > 0 && first[0] == '{' {
		fields, err := object(data)
		if err != nil {
			return faultAt(data, err)
		}
		raw, ok := fields[field]
		if !ok {
			return fmt.Errorf("line 1: the object has no field %q, which holds the entries", field)
		}
		if page, ok := fields["next_page_token"]; ok && string(page) != `""` && string(page) != "null" {
			return errors.New("the list is one page of several (next_page_token is set): entries that are missing in it would count as gone")
		}
		array = raw
		at = offsetOf(data, raw)
	}
	d := json.NewDecoder(bytes.NewReader(array))
	token, err := d.Token()
	if err != nil {
		return faultAt(data, err)
	}
	if token != json.Delim('[') {
		return fmt.Errorf("line %d: want an array of entries", lineAt(data, at))
	}
	line, counted := lineAt(data, at), 0 // lines up to counted, in array
	for d.More() {
		start := int(d.InputOffset())
		start += bytes.IndexAny(array[start:], "{[\"tfn-0123456789")
		line += bytes.Count(array[counted:start], []byte("\n"))
		counted = start
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return faultAt(data, err)
		}
		if err := visit(line, raw); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return faultAt(data, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("line %d: there is more behind the entries", lineAt(data, at+int(d.InputOffset())))
	}
	return nil
}

// offsetOf finds a part of data, which object sliced out of it.
func offsetOf(data, part []byte) int { return cap(data) - cap(part) }

// object reads the fields of a JSON object as they are written: encoding/json would take names in any case, and of two equal ones the last.
func object(data []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	if token != json.Delim('{') {
		return nil, errors.New("is not an object")
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name := token.(string) // the decoder sees to it
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("has two fields %q", shorten(name))
		}
		start := int(d.InputOffset())
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			return nil, err
		}
		part := data[start:d.InputOffset()]
		fields[name] = part[bytes.IndexByte(part, ':')+1:]
		for len(fields[name]) > 0 && strings.IndexByte(" \t\r\n", fields[name][0]) >= 0 {
			fields[name] = fields[name][1:]
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the object")
	}
	return fields, nil
}

// faultAt says in which line the JSON is broken. A decoder does not count all that it reads, so that the place is looked for again.
func faultAt(data []byte, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		if exact := new(json.SyntaxError); errors.As(json.Unmarshal(data, new(json.RawMessage)), &exact) {
			syntax = exact
		}
		return fmt.Errorf("line %d: no JSON: %w", lineAt(data, int(syntax.Offset)), syntax)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("line %d: the JSON ends too early", lineAt(data, len(data)))
	}
	return err
}
