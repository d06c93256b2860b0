package tui

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"golang.org/x/sys/unix"

	"kxsh/engine"
)

// details is what the engine tells of one pVM.
type details struct {
	*engine.Detail
	libraries []engine.Library
	at        time.Time
	err       error
}

type detailsMsg struct {
	number int
	details
}

// askDetails asks for all that the pane shows. A pVM that has ended has no libraries.
func askDetails(ctx context.Context, api engine.API, pid, number int) tea.Cmd {
	return func() tea.Msg {
		msg := detailsMsg{number: number}
		if msg.Detail, msg.err = api.Inspect(ctx, pid); msg.err == nil {
			msg.libraries, _ = api.Libraries(ctx, pid)
		}
		msg.at = time.Now()
		return msg
	}
}

// answered takes details in. Rates are those since the answer before.
func (m model) answered(msg detailsMsg) model {
	if m.pane == nil || msg.number != m.pane.number {
		return m
	}
	now := &msg.details
	if now.err == nil && !same(&now.Process, &m.pane.target) {
		now.err = fmt.Errorf("%s has ended", nameOf(&m.pane.target))
	}
	before := m.pane.details
	if now.err == nil && before != nil && before.err == nil {
		now.Traffic = now.Traffic.Since(before.Traffic, now.at.Sub(before.at))
		for i := range now.Shares {
			o := &now.Shares[i]
			for k := range before.Shares {
				if rate := o.RateSince(&before.Shares[k], now.at.Sub(before.at)); rate != nil {
					o.Rate = rate
				}
			}
		}
	}
	m.pane = m.pane.with(func(p *pane) {
		p.asked = false
		if now.err == nil || before == nil || before.err != nil { // else the last words are kept
			p.details = now
		}
	})
	return m
}

// wideDetails is from how many columns on details stand in two columns.
const wideDetails = 140

// detailLines is the details: titles at the left edge, facts a little to the right.
func (m model) detailLines() []string {
	d := m.pane.details
	switch {
	case d == nil:
		return []string{"…"}
	case d.err != nil:
		return []string{cut(printable(d.err.Error()), m.width)}
	}
	facts, shares, birth, events := d.facts(), append(d.channels(), d.linked()...), d.birth(), m.eventLines(&d.Process)
	if m.width < wideDetails {
		return m.beside(slices.Concat(facts, shares, birth, events), nil, m.width)
	}
	return m.beside(append(facts, birth...), append(shares, events...), m.width/2)
}

// beside joins two columns, of which the left one has so many cells.
func (m model) beside(left, right []string, width int) []string {
	left, right = wrap(left, width), wrap(right, m.width-width)
	var out []string
	for i := range max(len(left), len(right)) {
		line := ""
		if i < len(left) {
			line = m.headed(left[i], width)
		}
		if i < len(right) {
			line = pad(line, width) + m.headed(right[i], m.width-width)
		}
		out = append(out, line)
	}
	return out
}

// wrap breaks lines at blanks where they are too long, and goes on a little to the right.
func wrap(lines []string, width int) []string {
	const indent = "     "
	var out []string
	for _, line := range lines {
		for lipgloss.Width(line) > width && width > 2*len(indent) {
			head := cut(line, width)
			at := strings.LastIndexByte(head, ' ')
			if at <= len(indent) {
				break
			}
			out = append(out, line[:at])
			line = indent + line[at+1:]
		}
		out = append(out, line)
	}
	return out
}

func fact(key, format string, a ...any) string {
	return fmt.Sprintf("  %-9s %s", key, printable(fmt.Sprintf(format, a...)))
}

// facts is the first section.
func (d *details) facts() []string {
	states := map[string]string{"R": "running", "S": "blocked", "T": "stopped", "Z": "dead", "X": "ended"}
	line := fmt.Sprintf("%s, parent %d, family %d", states[d.Stat], d.PPID, d.Family)
	if d.Foreign {
		return []string{"Domain of somebody else", fact("memory", "%s, at most %s", size(d.Memory), size(d.MaxMem)),
			fact("CPU", "%s", cpuTime(d.Time)), fact("UUID", "%s", d.UUID)}
	}
	if d.MaxFamily > 0 {
		line += fmt.Sprintf(" (%d members of at most %d)", d.Members, d.MaxFamily)
	}
	out := []string{"Process", fact("state", "%s", line)}
	if n := len(d.Children); n > 0 {
		list := strings.Trim(fmt.Sprint(d.Children[:min(n, 10)]), "[]")
		if n > 10 {
			list += fmt.Sprintf(" and %d more", n-10)
		}
		out = append(out, fact("children", "%s", list))
	}
	if x := d.Exit; x != nil {
		text := fmt.Sprintf("status %d at %s", x.Code, x.Time.Local().Format("15:04:05.000"))
		if x.Signal > 0 {
			text += ", by " + unix.SignalName(unix.Signal(x.Signal))
		}
		if x.Reason != "" {
			text += ": " + x.Reason
		}
		out = append(out, fact("exit", "%s", text))
	}
	out = append(out, fact("memory", "%s: %s private, %s copy on write, %s shared; at most %s", size(d.Memory), size(d.Private()), size(d.CoW), size(d.Held()), size(d.MaxMem)),
		fact("CPU", "%s, weight %d, CPUs %s", cpuTime(d.Time), d.Weight, cpuList(d.CPUs)),
		fact("started", "%s by uid %d", d.Started.Local().Format("2006-01-02 15:04:05"), d.UID),
		fact("image", "%s", d.Image), fact("arguments", "%s", arguments(&d.Process)))
	if d.Net != "" {
		text := fmt.Sprintf("%s, %s", d.Net, cmp.Or(d.IP, "no address"))
		if d.Vif != "" {
			text += ", " + d.Vif
		}
		out = append(out, fact("network", "%s", text))
		if t := d.Traffic; t != nil {
			out = append(out, fact("received", "%s", trafficText(t.ReceivedBytes, t.ReceivedPackets, t.ReceiveRate)),
				fact("sent", "%s", trafficText(t.SentBytes, t.SentPackets, t.SendRate)))
		}
	}
	if d.Restart.Policy != "" && d.Restart.Policy != "no" {
		out = append(out, fact("restart", "%s, restarted %d times", d.Restart.Policy, d.Restarts))
	}
	return out
}

// trafficText is what has passed a network device one way, and passes now.
func trafficText(bytes, packets uint64, rate *uint64) string {
	text := fmt.Sprintf("%s in %d packets", size(bytes), packets)
	if rate != nil {
		text += fmt.Sprintf(", %s/s", size(*rate))
	}
	return text
}

func cpuList(cpus []int) string {
	if cpus == nil {
		return "all"
	}
	return strings.Trim(fmt.Sprint(cpus), "[]")
}

// channels is what its family shares and it has a part in.
func (d *details) channels() []string {
	if len(d.Shares) == 0 {
		return nil
	}
	out := []string{"IpC"}
	for i := range d.Shares {
		o := &d.Shares[i]
		text := fmt.Sprintf("%s %d", o.Kind, o.ID)
		switch {
		case o.Channel():
			text += fmt.Sprintf(": %s of %s in it, %s so far", size(o.Bytes), size(o.MaxBytes), size(o.TotalBytes))
			if o.Rate != nil {
				text += fmt.Sprintf(", %s/s", size(*o.Rate))
			}
		case o.Kind == engine.KindSegment:
			text += fmt.Sprintf(": %s, attached %d times", size(o.Bytes), o.Count)
		default:
			text += fmt.Sprintf(": %d", o.Count)
		}
		if o.Kind == engine.KindPipe {
			text += fmt.Sprintf("; %s to %s", pidList(o.Writers), pidList(o.Readers))
		}
		out = append(out, "  "+printable(text))
	}
	return out
}

func pidList(list []int) string {
	if len(list) == 0 {
		return "nobody"
	}
	return strings.Trim(fmt.Sprint(list), "[]")
}

// linked is the libraries.
func (d *details) linked() []string {
	if len(d.libraries) == 0 {
		return nil
	}
	out := []string{"Libraries"}
	for i := range d.libraries {
		l := &d.libraries[i]
		text := fmt.Sprintf("  %s at %#x, %s shared by %d pVMs", l.Name, l.Base, size(l.Shared), l.Sharers)
		if l.Bound >= 0 {
			text += fmt.Sprintf(", %d calls bound, %d not yet", l.Bound, l.Lazy)
		}
		out = append(out, printable(text))
	}
	return out
}

// shownEvents is how many of the last events details show.
const shownEvents = 20

// eventLines is the last events of a pVM, the newest first. Those of a second before it began are of its birth, earlier ones of
// another that had its PID.
func (m model) eventLines(p *engine.Process) []string {
	out := []string{"Events"}
	for i := len(m.events) - 1; i >= 0 && len(out) <= shownEvents; i-- {
		ev := &m.events[i]
		if (ev.PID == p.PID || ev.Child == p.PID) && ev.Time.Add(time.Second).After(p.Started) {
			out = append(out, "  "+printable(fmt.Sprintf("%s %s: %s", ev.Time.Local().Format("15:04:05.000"), ev.Type, ev.Text)))
		}
	}
	if len(out) == 1 {
		return nil
	}
	return out
}

// birth is the steps of the start or fork it came from, with a bar for what each took.
func (d *details) birth() []string {
	if len(d.Steps) == 0 {
		return nil
	}
	var sum, most time.Duration
	wide := 0
	for _, s := range d.Steps {
		if whole, _, part := strings.Cut(s.Name, ": "); !part || !slices.ContainsFunc(d.Steps, func(o engine.Step) bool { return o.Name == whole }) {
			sum += s.Took // a part is in the time of its whole
		}
		most = max(most, s.Took)
		wide = max(wide, lipgloss.Width(s.Name))
	}
	title := fmt.Sprintf("Steps of its birth: %.3f ms", sum.Seconds()*1000)
	if d.MainAfter > 0 {
		title += fmt.Sprintf(", its first instruction after %.3f", d.MainAfter.Seconds()*1000)
	}
	out := []string{title}
	for _, s := range d.Steps {
		bar := strings.Repeat("█", int(20*s.Took/max(1, most)))
		out = append(out, fmt.Sprintf("  %s %9.3f %s", pad(printable(s.Name), wide), s.Took.Seconds()*1000, bar))
	}
	return out
}
