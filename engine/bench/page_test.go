package bench

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func measured() *Report {
	peer, ours := &Series{Name: `peer, "a" <b> & c`}, &Series{Name: "pVM, pooled"}
	for i := range 1000 {
		peer.add(time.Duration(i+1) * time.Microsecond)
		ours.add(time.Duration(i+1) * 100 * time.Nanosecond)
	}
	peer.sum(nil, 0)
	ours.sum(peer, 0.05)
	return &Report{
		Bench: "boot", Time: time.Unix(0, 0), Machine: "2 × <CPU>", Version: "v1", Command: "kxsh bench boot",
		Series: []*Series{peer, ours, {Name: "not measured"}}, Values: []Value{{"memory", 147.7, "KiB", 150}, {"ps", 30, "ms", 20}, {"weight", -2, "KiB", 0}},
	}
}

// oneRun is a run of boot, and of another that has failed.
func oneRun(r *Report) *run {
	return &run{
		begun: time.Unix(0, 0), took: 61 * time.Second, version: "v1", command: "kxsh bench boot web", facts: []fact{{"Processors", "2 × <CPU>"}},
		sections: []section{
			{kind: kinds[0], report: r, notes: []string{"without xl: <none>"}, took: time.Second},
			{kind: kinds[8], err: errors.New("wrk: not found & so on"), took: time.Second},
		},
	}
}

func TestCSV(t *testing.T) {
	var b strings.Builder
	r := measured()
	if err := writeCSV(&b, oneRun(r)); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil || len(rows) != 2001 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, want := range map[int][]string{0: {"bench", "series", "sample", "ns"}, 1: {"boot", r.Series[0].Name, "1", "1000"}, 2000: {"boot", "pVM, pooled", "1000", "100000"}} {
		if !slices.Equal(rows[i], want) {
			t.Errorf("row %d: %q, want %q", i, rows[i], want)
		}
	}
}

func TestPage(t *testing.T) {
	var b strings.Builder
	r := measured()
	r.Series[1].Paper = 2 * time.Millisecond
	if err := writePage(&b, oneRun(r)); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{
		"<pre>kxsh bench boot web</pre>", "<td>2 × &lt;CPU&gt;</td>", "<td>v1</td>", "1970-01-01 00:00 UTC, took 1m1s", "peer, &#34;a&#34; &lt;b&gt; &amp; c",
		`<td>50.1µs</td><td>10.1µs</td><td>90µs</td><td>99µs</td><td>1000</td><td class="miss">1/10</td>`, "<td>≤ 1/20</td><td>2ms</td>",
		`<td class="met">147.7 KiB</td><td>≤ 150 KiB</td>`, `<td class="miss">30 ms</td>`, "<td>-2 KiB</td><td></td>", ">100µs</text>",
		`<a href="#web">web</a>`, `<h2 id="boot">boot<small>§4.1</small></h2>`, "<td>1 of 3</td>", `<span class="miss">failed</span>`, "wrk: not found &amp; so on", "<p>Without xl: &lt;none&gt;.</p>",
		"boot: pVM, pooled", ">1/10, ≤ 1/20<", "<td>pVM, pooled: 50.1µs, 1/10 of its peer</td>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
	if len(page) > 40<<10 {
		t.Errorf("%d bytes for two series", len(page))
	}
	counts := elements(t, page)
	if counts["svg"] != 2 || counts["path"] != 2 || counts["h2"] != 2 || counts["tr"] != 3+3+1+3+1+3 {
		t.Errorf("%v", counts)
	}
}

// elements counts those of a page, which must be whole, and need nothing beside it.
func elements(t *testing.T, page string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(page)); ; {
		tok, err := d.Token()
		if err == io.EOF {
			return counts
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			counts[e.Name.Local]++
			for _, a := range e.Attr {
				if a.Name.Local == "src" || a.Name.Local == "href" && !strings.HasPrefix(a.Value, "#") {
					t.Errorf("<%s> needs %s", e.Name.Local, a.Value)
				}
			}
		}
	}
}

// What cannot be written is said before anything is measured, and what was not finished leaves nothing.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	b := Bench{CSV: filepath.Join(dir, "a.csv"), HTML: filepath.Join(dir, "missing/a.html"), Quick: true}
	if err := b.Run(t.Context(), "boot"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if got := b.again(kinds[:2]); got != "kxsh bench --quick --csv a.csv --html a.html boot boot-many" {
		t.Error(got)
	}
	if got := (&Bench{}).again(kinds); got != "kxsh bench all" {
		t.Error(got)
	}
	if err := b.Run(t.Context(), "boot", "bot"); err == nil || !strings.HasPrefix(err.Error(), "bot: no such benchmark: there is boot, boot-many, ") {
		t.Errorf("%v", err)
	}
	b.HTML = filepath.Join(dir, "a.html")
	f, err := b.open()
	if err != nil {
		t.Fatal(err)
	}
	err = f.write(oneRun(measured()))
	f.drop()
	left, _ := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != "a.csv" || left[1].Name() != "a.html" {
		t.Errorf("%v: %v", left, err)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.0123456: "0.01235", 111: "111", 9999.4: "9999", 146913.6: "146914", -80620: "-80620"} {
		if got := number(v); got != want {
			t.Errorf("%g: %s, want %s", v, got, want)
		}
	}
}
