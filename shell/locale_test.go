package shell

import "testing"

func TestLocale(t *testing.T) {
	for _, c := range []struct {
		all, ctype, lang string
		want             bool
	}{
		{"", "", "", false}, {"", "", "C", false}, {"", "", "C.UTF-8", true}, {"", "", "de_DE.utf8@euro", true},
		{"POSIX", "", "C.UTF-8", false}, {"", "en_US.UTF-8", "C", true}, {"", "en_US.ISO-8859-1", "C.UTF-8", false}, {"UTF-8", "", "", false},
	} {
		env := map[string]string{"LC_ALL": c.all, "LC_CTYPE": c.ctype, "LANG": c.lang}
		if got := UTF8(func(name string) (string, bool) { v, set := env[name]; return v, set }); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
