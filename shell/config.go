package shell

import (
	"fmt"

	"github.com/spf13/pflag"
)

// Setting is one value of the configuration and where it comes from.
type Setting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`          // a string, an int or a bool
	Origin string `json:"origin"`         // default, file, environment or flag
	From   string `json:"from,omitempty"` // which file, variable or flag
}

var configCommand = Command{
	Name:     "config",
	Synopsis: "show [--json] [--no-headers]",
	Short:    "show the configuration, and where each value comes from",
	Long: "A flag comes before an environment variable, that before the configuration file, that before the default.\n" +
		"An engine keeps the settings that it was started with; these are what the next one would have.",
	Examples: []string{"config show", "config show --json | jq -r '.[] | select(.origin == \"file\") | .key'"},
	Flags: func(f *pflag.FlagSet) {
		f.Bool("json", false, "as JSON")
		f.Bool("no-headers", false, "without the line of headers")
	},
	Args:    Choice,
	Choices: []string{"show"},
	Pages:   true,
	Run: func(c *Call) error {
		if len(c.Args) != 1 || c.Args[0] != "show" {
			return usagef("say show")
		}
		list := c.shell.cfg.Settings
		if c.flagBool("json") {
			return writeJSON(c.Stdout, list)
		}
		g := grid{head: []string{"KEY", "VALUE", "ORIGIN"}, right: make([]bool, 3)}
		for _, s := range list {
			value, origin := fmt.Sprint(s.Value), s.Origin
			if value == "" {
				value = "-"
			}
			if s.From != "" {
				origin += " " + s.From
			}
			g.rows = append(g.rows, []string{s.Key, printable(value), printable(origin)})
		}
		return g.write(c.Stdout, !c.flagBool("no-headers"), width(c.Stdout), c.style().head)
	},
}
