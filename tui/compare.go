package tui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kxsh/engine"
)

// parseComparison understands a word that begins with head: a column and an operator.
func parseComparison(s, head string) (test, error) {
	value := s[len(head):]
	key := strings.TrimRight(head, "!=<>~")
	op := head[len(key):]
	c := columnOf(strings.ToLower(strings.TrimPrefix(key, "%")))
	if c == nil {
		return nil, fmt.Errorf("%s: no such column: %s", key, strings.Join(keys(), " "))
	}
	if text, ok := strings.CutPrefix(value, `"`); ok {
		if value, ok = strings.CutSuffix(text, `"`); !ok {
			return nil, fmt.Errorf("%s: the \" is not closed", s)
		}
	} else if value == "" {
		return nil, fmt.Errorf("%s: than what?", s)
	}
	if c.number != nil {
		return compareNumber(c, op, value)
	}
	return compareWord(c, op, value)
}

// keys is all columns, as a filter names them.
func keys() []string {
	var out []string
	for _, c := range table {
		out = append(out, c.key)
	}
	return append(out, nameColumn.key)
}

func compareNumber(c *column, op, value string) (test, error) {
	want, err := c.unit.parse(value)
	if err != nil {
		return nil, fmt.Errorf("%s%s%s: %w", c.key, op, value, err)
	}
	is, ok := map[string]func(float64) bool{
		"=": func(n float64) bool { return n == want }, "!=": func(n float64) bool { return n != want },
		"<": func(n float64) bool { return n < want }, ">": func(n float64) bool { return n > want },
		"<=": func(n float64) bool { return n <= want }, ">=": func(n float64) bool { return n >= want },
	}[op]
	if !ok {
		return nil, fmt.Errorf("%s%s: it is a number: = != < > <= >=", c.key, op)
	}
	return func(p *engine.Process) bool {
		l := loadOf(p)
		return is(c.number(p, &l))
	}, nil
}

// compareWord takes a library's file name without .so and what follows for its name, too.
func compareWord(c *column, op, value string) (test, error) {
	var is func(string) bool
	switch op {
	case "=", "!=":
		is = func(s string) bool {
			short, _, library := strings.Cut(s, ".so")
			return s == value || c.list != nil && library && short == value
		}
	case "~", "!~":
		re, err := expression(value)
		if err != nil {
			return nil, err
		}
		is = re.MatchString
	default:
		return nil, fmt.Errorf("%s%s: it is a word: = != ~ !~", c.key, op)
	}
	any := func(p *engine.Process) bool { return is(c.word(p)) }
	if c.list != nil {
		any = func(p *engine.Process) bool { return slices.ContainsFunc(c.list(p), is) }
	}
	if op[0] == '!' {
		return func(p *engine.Process) bool { return !any(p) }, nil
	}
	return any, nil
}

// unit is what a column's numbers count.
type unit int

const (
	pieces unit = iota
	percent
	bytes
	seconds
)

// parse reads a number as one types it: 10M, 1.5G, 40%, 90s, 2m, 1:30.
func (u unit) parse(s string) (float64, error) {
	factor, mend := 1.0, "a number"
	switch u {
	case percent:
		s, mend = strings.TrimSuffix(s, "%"), "per cent of a CPU, as 40"
	case bytes:
		mend = "bytes, as 10M or 1.5G"
		s = strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I")
		if i := strings.IndexAny(s, "KMGTPE"); i >= 0 && i == len(s)-1 {
			factor = float64(uint64(1) << (10 * (1 + strings.IndexByte("KMGTPE", s[i]))))
			s = s[:i]
		}
	case seconds:
		mend = "a time, as 90s, 2m or 1:30"
		if d, err := time.ParseDuration(s); err == nil {
			return d.Seconds(), nil
		}
		if minutes, rest, ok := strings.Cut(s, ":"); ok {
			n, err := strconv.ParseUint(minutes, 10, 32)
			if err != nil {
				return 0, fmt.Errorf("not %s", mend)
			}
			f, err := decimal(rest, mend)
			return float64(n)*60 + f, err
		}
	}
	f, err := decimal(s, mend)
	return f * factor, err
}

// decimal reads a number of decimal digits.
func decimal(s, mend string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.Trim(s, "0123456789.") != "" {
		return 0, fmt.Errorf("not %s", mend)
	}
	return f, nil
}
