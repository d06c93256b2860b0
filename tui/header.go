package tui

import (
	"fmt"
	"strings"
)

// tall is from how many lines on a screen has the whole header, and a pane leaves the table in view.
const tall = 20

// header is the lines above the table: one and the filter on a low screen, else five.
func (m model) header() []string {
	filter := m.view.filterLine()
	if m.height < tall {
		lines := []string{cut(m.brief(), m.width)}
		if filter != "" {
			lines = append(lines, cut(filter, m.width))
		}
		return lines
	}
	lines := m.view.header()[:2]
	for i := range lines {
		lines[i] = cut(lines[i], m.width)
	}
	return append(lines, m.meters(), m.graphs(), cut(filter, m.width))
}

// headerHeight is how many lines the header has.
func (m model) headerHeight() int {
	switch {
	case m.height >= tall:
		return 5
	case m.view.filter.empty():
		return 1
	}
	return 2
}

// brief is the header where there is hardly room.
func (m model) brief() string {
	parts := []string{fmt.Sprintf("pVMs: %d", m.view.ours())}
	if cpu, ok := last(m.history.cpu); ok {
		parts = append(parts, fmt.Sprintf("CPU %3.0f%%", cpu*100))
	}
	if i := m.info; i != nil && i.Memory > 0 {
		parts = append(parts, fmt.Sprintf("memory %s of %s", size(i.Memory-min(i.FreeMemory, i.Memory)), size(i.Memory)))
	}
	return strings.Join(parts, "  ")
}

// meters is how much of the host's CPUs and memory is used.
func (m model) meters() string {
	if m.info == nil || m.width < 12 {
		return ""
	}
	width := (m.width - 2) / 2
	cpu, known := last(m.history.cpu)
	text := fmt.Sprintf("of %d CPUs", m.info.CPUs)
	if known {
		text = fmt.Sprintf("%.1f%% ", cpu*100) + text
	}
	used := m.info.Memory - min(m.info.FreeMemory, m.info.Memory)
	return m.meter("CPU ", cpu, text, width) + "  " +
		m.meter("Mem ", float64(used)/float64(max(1, m.info.Memory)), fmt.Sprintf("%s of %s", size(used), size(m.info.Memory)), width)
}

// meter is a bar in brackets, with text at its end that hides it.
func (m model) meter(name string, part float64, text string, width int) string {
	inside := width - len(name) - 2
	if inside < len(text) {
		return pad(cut(name+text, width), width)
	}
	full := min(int(part*float64(inside)+0.5), inside-len(text))
	return name + "[" + m.theme.meter.Render(strings.Repeat("|", full)) + strings.Repeat(" ", inside-len(text)-full) + text + "]"
}

// graphs is how host and pVMs have fared in the last frames.
func (m model) graphs() string {
	if m.width < 12 {
		return ""
	}
	width := (m.width - 4) / 3
	cpu, _ := last(m.history.cpu)
	memory, _ := last(m.history.memory)
	forks, _ := last(m.history.forks)
	return m.graph(fmt.Sprintf("CPU %3.0f%% ", cpu*100), m.history.cpu, width, 1) + "  " +
		m.graph(fmt.Sprintf("pVMs %4s ", size(uint64(memory))), m.history.memory, width, 0) + "  " +
		m.graph(fmt.Sprintf("forks/s %3.0f ", forks), m.history.forks, width, 0)
}

func (m model) graph(name string, values []float64, width int, top float64) string {
	name = cut(name, width)
	return name + m.theme.graph.Render(spark(values, width-len(name), top))
}
