package shell

import (
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// The examples of the command table are what the shell takes: they parse, and so do the flags of each command of ours in them.
func TestExamples(t *testing.T) {
	s := New(Config{})
	print := syntax.NewPrinter()
	for _, cmd := range s.Commands() {
		own := false
		for _, example := range cmd.Examples {
			file, err := syntax.NewParser().Parse(strings.NewReader(example), "")
			if err != nil {
				t.Errorf("%s: %v", cmd.Name, err)
				continue
			}
			syntax.Walk(file, func(n syntax.Node) bool {
				call, ok := n.(*syntax.CallExpr)
				if !ok {
					return true
				}
				var words []string
				for _, w := range call.Args {
					var text strings.Builder
					print.Print(&text, w)
					words = append(words, strings.Trim(text.String(), `'"`))
				}
				if len(words) == 0 || s.table[words[0]] == nil {
					return true
				}
				own = own || words[0] == cmd.Name
				c := Call{cmd: s.table[words[0]], shell: s}
				if err := c.parse(words[1:]); err != nil {
					t.Errorf("%s: %s: %v", cmd.Name, example, err)
				}
				return true
			})
		}
		if len(cmd.Examples) > 0 && !own {
			t.Errorf("%s: no example has it: %q", cmd.Name, cmd.Examples)
		}
	}
}
