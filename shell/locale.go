package shell

import "strings"

// UTF8 tells whether the characters of the environment's locale are UTF-8, by the first of its variables that is set.
func UTF8(lookup func(string) (string, bool)) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value, _ := lookup(name); value != "" {
			_, set, _ := strings.Cut(strings.ToLower(value), ".")
			set, _, _ = strings.Cut(set, "@")
			return set == "utf-8" || set == "utf8"
		}
	}
	return false
}
