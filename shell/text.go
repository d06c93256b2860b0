package shell

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// humanBytes is a size in at most five characters: 512, 1.2M, 64M.
func humanBytes(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10)
	}
	v, units := float64(n)/1024, "KMGTPE"
	for v >= 999.5 && len(units) > 1 {
		v, units = v/1024, units[1:]
	}
	decimals := 0
	if v < 9.95 {
		decimals = 1
	}
	return strconv.FormatFloat(v, 'f', decimals, 64) + units[:1]
}

// parseSize reads bytes with an optional binary suffix: 65536, 64K, 1.5M, 2GiB.
func parseSize(s string) (uint64, error) {
	digits := strings.TrimRightFunc(s, unicode.IsLetter)
	unit := strings.ToUpper(s[len(digits):])
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I")
	shift := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
	n, known := shift[unit]
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || !known || v <= 0 || v*float64(uint64(1)<<n) > 1<<52 {
		return 0, fmt.Errorf("%s: not a size; say 64M or 1G", s)
	}
	return uint64(v * float64(uint64(1)<<n)), nil
}

// clock is CPU time as ps prints it: 00:03, 1:02:03.
func clock(d time.Duration) string {
	s := int64(d / time.Second)
	rest := string([]byte{digit(s / 600 % 6), digit(s / 60), ':', digit(s / 10 % 6), digit(s)})
	if s >= 3600 {
		return strconv.FormatInt(s/3600, 10) + ":" + rest
	}
	return rest
}

// digit is the last decimal digit of n.
func digit(n int64) byte { return '0' + byte(n%10) }

// humanDuration is a span of time for people: 38µs, 1.2ms, 3.4s, 2m05s, 3h02m, 4d03h.
func humanDuration(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%dns", d)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0fµs", float64(d)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.1fms", float64(d)/1e6)
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d/time.Second%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d/time.Minute%60)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d/time.Hour%24)
}

// shortTime is a moment as ps prints STARTED: the time today, else the date.
func shortTime(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02")
}

// printable replaces what could move a terminal's cursor; names and arguments come from guests.
func printable(s string) string {
	clean := true
	for _, r := range s {
		if !unicode.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// oneLine keeps an error to one line.
func oneLine(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "\n", "; ")), " ")
}

// writeJSON prints v as indented JSON. An empty list is [].
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// grid is a table of columns as wide as their widest cell.
type grid struct {
	head  []string
	right []bool // right-aligned columns
	rows  [][]string
}

// columnsOf is how many columns of a terminal a text takes. What is plain needs no table of wide characters.
func columnsOf(s string) int {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return ansi.StringWidth(s)
		}
	}
	return len(s)
}

// write prints the grid. The last column is not padded; width > 0 cuts the lines.
func (g *grid) write(w io.Writer, head bool, width int, headStyle func(string) string) error {
	widths := make([]int, len(g.head))
	if head {
		for i, h := range g.head {
			widths[i] = columnsOf(h)
		}
	}
	for _, row := range g.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], columnsOf(cell))
		}
	}
	sum := len(widths)
	for _, n := range widths {
		sum += n
	}
	out := make([]byte, 0, (len(g.rows)+1)*sum)
	line := func(row []string) {
		begin := len(out)
		for i, cell := range row {
			if i > 0 {
				out = append(out, ' ')
			}
			pad := widths[i] - columnsOf(cell)
			if g.right[i] {
				out = blanks(out, pad)
			}
			out = append(out, cell...)
			if !g.right[i] && i < len(row)-1 {
				out = blanks(out, pad)
			}
		}
		if width > 0 {
			if text := string(out[begin:]); columnsOf(text) > width {
				out = append(out[:begin], ansi.Truncate(text, width, "")...)
			}
		}
	}
	if head {
		line(g.head)
		out = append([]byte(headStyle(string(out))), '\n')
	}
	for _, row := range g.rows {
		line(row)
		out = append(out, '\n')
	}
	_, err := w.Write(out)
	return err
}

// blanks appends n blanks.
func blanks(b []byte, n int) []byte {
	for range n {
		b = append(b, ' ')
	}
	return b
}

// writeJSONLine prints v as JSON on one line.
func writeJSONLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
