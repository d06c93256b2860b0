package tui

import (
	"context"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"kxsh/engine"
)

// model is the state of a live top. Actions are bound to the PID that was highlighted when the key
// was pressed, never to a row.
type model struct {
	ctx   context.Context
	api   engine.API
	o     Options
	theme theme

	chosen     bool // the theme, with a key
	remembered layout

	view   view
	picked int // PID under the cursor
	at     int // its row
	top    int // first row shown
	width  int
	height int
	help   int     // first line of it on the screen, from 1; 0: not shown
	menu   *menu   // of signals, when it is open
	prompt *prompt // the line being typed, or nil
	search filter  // what n and N look for
	picker *picker // of columns, when it is open
	pane   *pane   // about one pVM, when it is open
	panes  int     // that were opened
	note   string  // one line of news, until the next key
	frames int
	ticks  int   // how often the next frame was put off
	lost   error // why the last frame did not come

	info    *engine.Info // of the last frame, or nil
	history history
	events  []engine.Event
	asking  bool // for more of them
	began   bool // of those that there were at first
	forked  int  // since the last frame
	err     error
}

func newModel(ctx context.Context, api engine.API, o Options) model {
	m := model{ctx: ctx, api: api, o: o, view: newView(), theme: themeOf(o.Theme), asking: true}
	if !o.Color {
		m.theme = themes[monochrome]
	}
	if o.Layout != "" {
		m = m.remember()
	}
	return m
}

type (
	tickMsg   struct{ number int }
	signalMsg struct{ text string }
)

func (m model) Init() tea.Cmd { return tea.Batch(m.sample, m.news) }

func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	before := m.picked
	m, cmd := m.handle(msg)
	m = m.settle()
	switch msg.(type) {
	case tea.KeyPressMsg, tea.PasteMsg, tea.MouseMsg:
		if m.picked != before {
			var more tea.Cmd
			m, more = m.follow()
			cmd = tea.Batch(cmd, more)
		}
	}
	return m, cmd
}

func (m model) handle(msg tea.Msg) (model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tickMsg:
		switch {
		case msg.number != m.ticks: // a frame came between, and put off the next
			return m, nil
		case m.asking:
			return m, m.sample
		}
		m.asking = true
		return m, tea.Batch(m.sample, m.news)
	case newsMsg:
		return m.told(msg), nil
	case snapMsg:
		if msg.err != nil {
			return m.missed(msg.err)
		}
		m = m.take(msg)
		if m.o.Frames > 0 && m.frames >= m.o.Frames {
			return m, tea.Quit
		}
		var ask tea.Cmd
		if m.pane != nil && m.pane.details != nil {
			m, ask = m.ask()
		}
		m, next := m.tick()
		return m, tea.Batch(ask, next)
	case paneMsg:
		if m.pane != nil && m.pane.number == msg.number {
			return m.ask()
		}
	case detailsMsg:
		return m.answered(msg), nil
	case consoleMsg:
		return m.opened(msg)
	case chunkMsg:
		return m.heard(msg)
	case signalMsg:
		m.note = msg.text
		return m, m.sample
	case tea.KeyPressMsg:
		return m.key(msg)
	case tea.MouseMsg:
		return m.mouse(msg), nil
	case tea.PasteMsg:
		if m.prompt != nil {
			m = m.insert(msg.Content)
		}
	}
	return m, nil
}

// tick puts off the next frame by an interval from now, whenever it was to come before.
func (m model) tick() (model, tea.Cmd) {
	m.ticks++
	number := m.ticks
	return m, tea.Tick(m.o.Interval, func(time.Time) tea.Msg { return tickMsg{number} })
}

// missed goes on without a frame, for an engine that goes is followed by another; but not if there has never been one.
func (m model) missed(err error) (model, tea.Cmd) {
	if m.view.snap == nil {
		m.err = err
		return m, tea.Quit
	}
	m.lost = err
	return m.tick()
}

// settle keeps the cursor on its pVM, wherever its row has gone; when that is not shown any more, on the
// nearest ancestor that is, else on the row where it was. Then it keeps the cursor on the screen.
func (m model) settle() model {
	n := len(m.view.rows)
	if n == 0 {
		m.at, m.top = 0, 0 // picked is kept: a filter may be half typed
		return m
	}
	pid, row := m.picked, m.row(m.picked)
	for range m.view.all { // as far as a chain of ancestors can be
		p := m.view.find(pid)
		if row >= 0 || p == nil {
			break
		}
		pid = p.PPID
		row = m.row(pid)
	}
	if row < 0 {
		row = min(m.at, n-1)
	}
	m.at, m.picked = row, m.view.rows[row].PID
	space := m.space()
	m.top = max(0, min(m.top, m.at, n-space), m.at-space+1)
	return m
}

// otherTheme goes on to the next theme.
func (m model) otherTheme() model {
	if !m.o.Color {
		m.note = "no colours on this terminal"
		return m
	}
	m.theme, m.chosen = nextTheme(m.theme), true
	m.note = "theme: " + m.theme.name
	return m
}

// sortBy sorts by a column, or, if it is that already, the other way round.
func (m model) sortBy(c *column) model {
	m.view.sort = order{by: c, back: m.view.sort.by == c && !m.view.sort.back}
	m.view.arrange()
	return m
}

// sortKey is a key that sorts by a column.
func sortKey(c *column) func(model) (model, tea.Cmd) {
	return func(m model) (model, tea.Cmd) {
		m.view.sort = order{by: c}
		m.view.arrange()
		return m, nil
	}
}

// sortBeside is a key that sorts by the column so many further on among those that are shown.
func sortBeside(by int) func(model) (model, tea.Cmd) {
	return func(m model) (model, tea.Cmd) {
		shown := append(m.view.fitting(m.width), nameColumn)
		n := len(shown)
		return m.sortBy(shown[((slices.Index(shown, m.view.sort.by)+by)%n+n)%n]), nil
	}
}

// row is the row of a pVM, or -1.
func (m model) row(pid int) int {
	for i := range m.view.rows {
		if m.view.rows[i].PID == pid {
			return i
		}
	}
	return -1
}

// far is further than any list is long.
const far = 1 << 30

// move puts the cursor so many rows further down, or scrolls the pane that hides it.
func (m model) move(by int) model {
	if m.whole() {
		return m.scrollPane(by)
	}
	if n := len(m.view.rows); n > 0 {
		m.picked = m.view.rows[max(0, min(n-1, m.at+by))].PID
	}
	return m
}
