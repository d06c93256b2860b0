package tui

import (
	"strings"

	"charm.land/lipgloss/v2"
)

// plainGlyphs is what stands for the characters that we draw with, each one cell wide.
var plainGlyphs = map[rune]string{'├': "|", '└': "`", '│': "|", '─': "-", '…': "~",
	'▁': "_", '▂': ".", '▃': "-", '▄': "=", '▅': "+", '▆': "*", '▇': "%", '█': "#"}

// ascii is s for terminals that know no other characters, as wide as it was.
func ascii(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return s[:i] + translate(s[i:])
		}
	}
	return s
}

func translate(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch glyph, ours := plainGlyphs[r]; {
		case r < 0x80:
			b.WriteRune(r)
		case ours:
			b.WriteString(glyph)
		default:
			b.WriteString(strings.Repeat("?", lipgloss.Width(string(r))))
		}
	}
	return b.String()
}
