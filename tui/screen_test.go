package tui

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"kxsh/engine"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew from what is shown")

// plain has no styles, but a > before the row under the cursor.
var plain = theme{picked: lipgloss.NewStyle().Transform(func(s string) string { return ">" + s[1:] })}

func init() { time.Local = time.UTC } // screens show times of day

// families is two families, a lone pVM and a domain of others.
func families() *engine.Snapshot {
	at := time.Date(2026, 11, 28, 12, 30, 0, 0, time.UTC)
	p := func(pid, ppid, family int, name, stat string, cpu float64, mib uint64) engine.Process {
		return engine.Process{PID: pid, PPID: ppid, Family: family, Name: name, Stat: stat, CPU: cpu, Memory: mib << 20,
			Shared: mib << 19, CoW: mib << 18, Time: time.Duration(cpu) * time.Second, Started: at.Add(time.Duration(pid-100) * time.Second)}
	}
	s := snapshot(at,
		p(3, 0, 3, "web", "S", 1, 4), p(4, 3, 3, "worker", "R", 30, 2), p(5, 3, 3, "worker", "R", 25, 2), p(6, 4, 3, "cgi", "S", 2, 1),
		p(7, 0, 7, "lone", "R", 40, 3), p(8, 0, 8, "shell", "S", 0, 2), p(9, 8, 8, "Lua", "T", 5, 8), p(12, 0, 0, "debian", "S", 9, 512))
	s.Processes[7].Foreign = true
	s.Uptime, s.Pool = 90*time.Second, engine.Pool{PoolState: engine.PoolState{Ready: 6, Want: 6}}
	return s
}

// screenOf is a top of that size that has seen one snapshot.
func screenOf(width, height int, s *engine.Snapshot) model {
	m := newModel(context.Background(), nil, Options{})
	m.theme = plain
	return m.after(tea.WindowSizeMsg{Width: width, Height: height}, snapMsg{snap: s})
}

func (m model) after(msgs ...tea.Msg) model {
	for _, msg := range msgs {
		next, _ := m.Update(msg)
		m = next.(model)
	}
	return m
}

// press types keys by the names that bubbletea gives them.
func (m model) press(keys ...string) model {
	for _, k := range keys {
		m = m.after(keyPress(k))
	}
	return m
}

// settled presses a key and does what it sets off at once: a pane that is opened gets its answer, and one more of a second later.
func (m model) settled(key string) model {
	before := m.pane
	m = m.press(key)
	if m.pane == nil || m.pane == before {
		return m
	}
	m, cmd := m.ask()
	for i := 0; cmd != nil && i < 5; i++ {
		m, cmd = m.handle(cmd())
	}
	if d := m.pane.details; d != nil {
		m.pane.details.at = d.at.Add(-time.Second)
		m, cmd = m.ask()
		msg := cmd().(detailsMsg)
		msg.at = d.at.Add(time.Second)
		m = m.answered(msg)
	}
	return m.settle()
}

func keyPress(name string) tea.KeyPressMsg {
	special := map[string]rune{"up": tea.KeyUp, "down": tea.KeyDown, "enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab,
		"backspace": tea.KeyBackspace, "pgdown": tea.KeyPgDown, "end": tea.KeyEnd, "home": tea.KeyHome, "f9": tea.KeyF9, "pgup": tea.KeyPgUp}
	if code, ok := special[name]; ok {
		return tea.KeyPressMsg{Code: code}
	}
	if name == "space" {
		return tea.KeyPressMsg{Code: ' ', Text: " "}
	}
	if name == "ctrl+u" {
		return tea.KeyPressMsg{Code: 'u', Mod: tea.ModCtrl}
	}
	r := []rune(name)
	return tea.KeyPressMsg{Code: r[0], Text: name}
}

// Every screen in every size, as it is kept in testdata (-rewrite writes it).
func TestScreens(t *testing.T) {
	for _, c := range []struct {
		name string
		keys []string
	}{
		{"list", nil},
		{"tree", []string{"t"}},
		{"folded", []string{"t", "*"}},
		{"filter", []string{"t", "f", "w", "e", "b"}},
		{"search", []string{"/", "l", "u", "("}},
		{"menu", []string{"t", "home", "x", "tab"}},
		{"marks", []string{"t", "home", "space", "down", "space", "x"}},
		{"columns", []string{"C", "down"}},
		{"details", []string{"p", "home", "d"}},
		{"console", []string{"p", "home", "l"}},
		{"help", []string{"?"}},
	} {
		for _, size := range [][2]int{{40, 12}, {80, 24}, {200, 60}} {
			t.Run(fmt.Sprintf("%s-%dx%d", c.name, size[0], size[1]), func(t *testing.T) {
				m := lived(size[0], size[1])
				for _, key := range c.keys {
					m = m.settled(key)
				}
				got := m.screen()
				lines := strings.Split(got, "\n")
				if len(lines) != size[1] {
					t.Errorf("%d lines", len(lines))
				}
				for i := range lines {
					if lipgloss.Width(lines[i]) > size[0] {
						t.Errorf("wider than the screen: %q", lines[i])
					}
					lines[i] = strings.TrimRight(lines[i], " ")
				}
				got = strings.Join(lines, "\n") + "\n"
				file := filepath.Join("testdata", filepath.Base(t.Name())+".txt")
				if *rewrite {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("the screen is\n%s\nand not, as in %s,\n%s", got, file, want)
				}
			})
		}
	}
}

// lived is a top of that size that has seen some frames.
func lived(width, height int) model {
	r := &recorder{snap: families()}
	m := screenOf(width, height, families())
	m.api = r
	m.view, m.history = newView(), history{}
	for i := range 30 {
		s := families()
		s.Time = s.Time.Add(time.Duration(i-30) * 2 * time.Second)
		for j := range s.Processes { // each has used what it says, since the frame before
			p := &s.Processes[j]
			p.Time += time.Duration(i) * time.Duration(p.CPU*float64(20*time.Millisecond))
		}
		idle := time.Hour + time.Duration(i*(i%7))*100*time.Millisecond
		m = m.after(newsMsg{forkedEvents(i)}, snapMsg{snap: s, info: &engine.Info{CPUs: 2, Memory: 4 << 30, FreeMemory: 1 << 30, Idle: idle}})
	}
	return m
}

func forkedEvents(i int) []engine.Event {
	list := make([]engine.Event, i%5)
	for j := range list {
		list[j] = engine.Event{Seq: uint64(i*10 + j), Type: "forked", PID: 3, Child: 4 + j, Name: "web", Text: "a child",
			Time: time.Date(2026, 11, 28, 12, 29, i, 0, time.UTC)}
	}
	return list
}

// Any size at any moment, with nothing to show and with much.
func TestResize(t *testing.T) {
	for _, s := range []*engine.Snapshot{snapshot(time.Unix(0, 0)), families(), many(100)} {
		m := screenOf(80, 24, s)
		m.api = &recorder{snap: s}
		m = m.press("t", "end")
		for _, size := range [][2]int{{1, 1}, {40, 12}, {5, 3}, {200, 60}, {0, 0}, {80, 2}, {80, 24}} {
			m = m.after(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
			for _, key := range []string{"down", "*", "?", "esc", "d", "pgdown", "]", "l", "[", "x", "tab", "esc", "C", "down", "esc", "esc", "pgdown", "t", "f", "(", "esc"} {
				m = m.press(key)
				if n := strings.Count(m.screen(), "\n") + 1; size[1] > 0 && n != size[1] {
					t.Errorf("%d lines on a screen of %dx%d", n, size[0], size[1])
				}
			}
		}
	}
}

// many is n pVMs, forked from each other by tens.
func many(n int) *engine.Snapshot {
	s := snapshot(time.Unix(0, 0))
	for pid := 1; pid <= n; pid++ {
		s.Processes = append(s.Processes, engine.Process{PID: pid, PPID: pid / 10, Family: 1, Name: fmt.Sprint("pvm", pid), Stat: "S", CPU: float64(pid * 7919 % 101), Memory: uint64(pid) << 12})
	}
	return s
}

// The cursor stays on its pVM, whatever happens to rows.
func TestCursorFollowsThePID(t *testing.T) {
	s := families()
	m := screenOf(80, 12, s).press("down") // 7 uses most, then 4
	if m.picked != 4 {
		t.Fatalf("picked %d", m.picked)
	}
	next := families()
	next.Time = s.Time.Add(time.Second)
	next.Processes[5].Time += time.Second // 8 is first now
	m = m.after(snapMsg{snap: next})
	if m.picked != 4 || m.view.rows[m.at].PID != 4 {
		t.Errorf("after the rows moved: %d", m.picked)
	}
	for _, step := range []struct {
		key  string
		want int
	}{{"p", 4}, {"t", 4}, {"up", 3}, {"down", 4}, {"+", 4}, {"+", 4}, {"*", 3}, {"*", 3}, {"t", 3}} {
		if m = m.press(step.key); m.picked != step.want {
			t.Errorf("after %q: picked %d, want %d", step.key, m.picked, step.want)
		}
	}
	at := m.at
	gone := families()
	gone.Processes = gone.Processes[1:] // 3 has ended
	m = m.after(snapMsg{snap: gone})
	if m.at != min(at, len(m.view.rows)-1) {
		t.Errorf("its pVM gone, the cursor went from row %d to %d", at, m.at)
	}
}

// A frame between two others, for a signal that was sent, does not make more of them from then on.
func TestTicks(t *testing.T) {
	m := screenOf(80, 24, families())
	m.api, m.o.Interval, m.asking = &recorder{snap: families()}, time.Millisecond, true
	step := func(msg tea.Msg) tea.Cmd {
		next, cmd := m.Update(msg)
		m = next.(model)
		return cmd
	}
	regular := step(snapMsg{snap: families()})()
	between := step(step(signalMsg{"sent"})())()
	if step(regular) != nil {
		t.Error("the frame that was to come before is made, too")
	}
	cmd := step(between)
	if cmd == nil {
		t.Fatal("there is no next frame")
	}
	if _, sampled := cmd().(snapMsg); !sampled {
		t.Error("the next tick makes no frame")
	}
}

// The first frame does not wait for the thousands of events that an engine keeps.
func TestFirstFrame(t *testing.T) {
	r := &recorder{snap: families(), events: forkedEvents(4)}
	m := newModel(context.Background(), r, Options{})
	if msg := m.sample().(snapMsg); msg.snap == nil || msg.info == nil {
		t.Errorf("%+v", msg)
	}
	m = m.after(m.news())
	if len(m.events) != 4 || m.asking {
		t.Errorf("%d events, asking %t", len(m.events), m.asking)
	}
}

// An engine that goes leaves the screen as it was, until the next one answers.
func TestEngineGoes(t *testing.T) {
	gone := snapMsg{err: errors.New("engine: no answer")}
	m := screenOf(80, 24, families())
	m.o.Interval = time.Millisecond
	next, cmd := m.Update(gone)
	m = next.(model)
	if text := m.screen(); cmd == nil || m.err != nil || !strings.Contains(text, "worker") || !strings.HasSuffix(text, "engine: no answer: trying again   q quit") {
		t.Errorf("%s", text)
	}
	if _, again := cmd().(tickMsg); !again {
		t.Error("it is not asked again")
	}
	if m = m.after(snapMsg{snap: families()}); strings.Contains(m.screen(), "again") {
		t.Errorf("%s", m.screen())
	}
	next, cmd = newModel(context.Background(), nil, Options{}).Update(gone)
	if _, quit := cmd().(tea.QuitMsg); !quit || next.(model).err == nil {
		t.Error("without a first frame there is no end")
	}
}

// The screen scrolls no further than the cursor makes it.
func TestScroll(t *testing.T) {
	m := screenOf(80, 10, many(100)).press("p") // by PID
	for _, step := range []struct {
		key      string
		pid, top int
	}{{"home", 1, 0}, {"pgdown", 8, 1}, {"up", 7, 1}, {"up", 6, 1}, {"end", 100, 93}, {"up", 99, 93}, {"home", 1, 0}} {
		if m = m.press(step.key); m.picked != step.pid || m.top != step.top {
			t.Errorf("after %q: PID %d, first row %d, want %d and %d", step.key, m.picked, m.top, step.pid, step.top)
		}
	}
}
