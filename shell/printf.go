package shell

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// printer is the state of one printf.
type printer struct {
	args   []string
	used   bool // the format took an argument
	out    strings.Builder
	stop   bool // \c in a %b
	failed []string
}

// printfText is printf: the format is used again until all arguments are. The errors are those of
// arguments that are no numbers, which count as what could be read of them.
func printfText(format string, args []string) (text string, failed []string, err error) {
	p := &printer{args: args}
	for {
		p.used = false
		if err := p.format(format); err != nil {
			return p.out.String(), p.failed, err
		}
		if p.stop || len(p.args) == 0 || !p.used {
			return p.out.String(), p.failed, nil
		}
	}
}

func (p *printer) format(f string) error {
	for i := 0; i < len(f) && !p.stop; {
		switch f[i] {
		case '\\':
			s, n, stop := unescape(f[i:], false)
			p.out.WriteString(s)
			p.stop = stop
			i += n
		case '%':
			n, err := p.spec(f[i:])
			if err != nil {
				return err
			}
			i += n
		default:
			p.out.WriteByte(f[i])
			i++
		}
	}
	return nil
}

func (p *printer) next() string {
	p.used = true
	if len(p.args) == 0 {
		return ""
	}
	a := p.args[0]
	p.args = p.args[1:]
	return a
}

// spec prints one conversion and returns its length in the format.
func (p *printer) spec(f string) (int, error) {
	i := 1
	for i < len(f) && strings.IndexByte("-+ #0", f[i]) >= 0 {
		i++
	}
	spec := f[:i]
	number := func() {
		if i < len(f) && f[i] == '*' {
			spec += strconv.FormatInt(p.integer(p.next()), 10)
			i++
			return
		}
		from := i
		for i < len(f) && f[i] >= '0' && f[i] <= '9' {
			i++
		}
		spec += f[from:i]
	}
	number()
	if i < len(f) && f[i] == '.' {
		spec += "."
		i++
		number()
	}
	for i < len(f) && strings.IndexByte("hlLjzt", f[i]) >= 0 {
		i++
	}
	if i == len(f) {
		return 0, fmt.Errorf("`%s': missing format character", f)
	}
	verb := f[i]
	switch verb {
	case '%':
		p.out.WriteByte('%')
	case 's':
		fmt.Fprintf(&p.out, spec+"s", p.next())
	case 'q':
		q, err := syntax.Quote(p.next(), syntax.LangBash)
		if err != nil {
			return 0, err
		}
		fmt.Fprintf(&p.out, spec+"s", q)
	case 'b':
		s, stop := expandEscapes(p.next())
		fmt.Fprintf(&p.out, spec+"s", s)
		p.stop = stop
	case 'c':
		s := p.next()
		_, n := utf8.DecodeRuneInString(s)
		fmt.Fprintf(&p.out, spec+"s", s[:n])
	case 'd', 'i':
		fmt.Fprintf(&p.out, spec+"d", p.integer(p.next()))
	case 'u':
		fmt.Fprintf(&p.out, spec+"d", uint64(p.integer(p.next())))
	case 'o', 'x', 'X':
		fmt.Fprintf(&p.out, spec+string(verb), uint64(p.integer(p.next())))
	case 'e', 'E', 'f', 'F', 'g', 'G':
		fmt.Fprintf(&p.out, spec+string(verb), p.float(p.next()))
	default:
		return 0, fmt.Errorf("`%c': invalid format character", verb)
	}
	return i + 1, nil
}

// integer reads a number as C does; 'x is the code of x.
func (p *printer) integer(s string) int64 {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0
	}
	if s[0] == '\'' || s[0] == '"' {
		r, _ := utf8.DecodeRuneInString(s[1:])
		return int64(r)
	}
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		if u, err := strconv.ParseUint(s, 0, 64); err == nil {
			return int64(u)
		}
		p.failed = append(p.failed, s+": invalid number")
		end := 0
		for end < len(s) && (s[end] >= '0' && s[end] <= '9' || end == 0 && s[end] == '-') {
			end++
		}
		n, _ = strconv.ParseInt(s[:end], 10, 64)
	}
	return n
}

func (p *printer) float(s string) float64 {
	if s = strings.TrimSpace(s); s == "" {
		return 0
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		p.failed = append(p.failed, s+": invalid number")
	}
	return v
}

// expandEscapes is what echo -e and %b do; stop: \c ended the output.
func expandEscapes(s string) (text string, stop bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		out, n, stop := unescape(s[i:], true)
		b.WriteString(out)
		if stop {
			return b.String(), true
		}
		i += n
	}
	return b.String(), false
}

// unescape reads the escape that s begins with and returns what it means and its length. With zero,
// octal escapes are \0nnn, as echo -e has them, beside \nnn.
func unescape(s string, zero bool) (text string, n int, stop bool) {
	if len(s) < 2 {
		return s, len(s), false
	}
	if i := strings.IndexByte(`abefnrtv\"'E`, s[1]); i >= 0 && !(zero && (s[1] == '"' || s[1] == '\'')) {
		return string("\a\b\x1b\f\n\r\t\v\\\"'\x1b"[i]), 2, false
	}
	digits := func(from, most, base int) (uint64, int) {
		end := from
		for end < len(s) && end < from+most {
			if _, err := strconv.ParseUint(s[end:end+1], base, 8); err != nil {
				break
			}
			end++
		}
		v, _ := strconv.ParseUint(s[from:end], base, 32)
		return v, end
	}
	switch c := s[1]; {
	case c == 'c':
		return "", 2, true
	case c >= '0' && c <= '7':
		most := 3
		if zero && c == '0' {
			most = 4
		}
		v, end := digits(1, most, 8)
		return string([]byte{byte(v)}), end, false
	case c == 'x' || c == 'u' || c == 'U':
		most := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		v, end := digits(2, most, 16)
		switch {
		case end == 2:
			return s[:2], 2, false
		case c == 'x':
			return string([]byte{byte(v)}), end, false
		}
		return string(rune(v)), end, false
	}
	return s[:2], 2, false
}
