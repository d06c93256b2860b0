package bench

import (
	"slices"
	"strings"
	"testing"

	"kxsh/xen"
)

func TestChoose(t *testing.T) {
	for want, names := range map[string][]string{
		"boot web": {"web", "boot", "web"}, strings.Join(Names(), " "): {"ipc", All}, "": nil,
	} {
		list, err := choose(names)
		var got []string
		for _, k := range list {
			got = append(got, k.name)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v", names, got, err)
		}
	}
}

// The paper's figures stand beside series that there are.
func TestPaper(t *testing.T) {
	var names []string
	for _, x := range exchanges {
		for _, w := range x.series {
			names = append(names, w.title+": Linux", w.title+": pVM")
		}
	}
	for _, s := range newForkRows(4).all() {
		names = append(names, s.Name)
	}
	names = append(names, "pVM, unpooled", "xl create", "crun run", "update, all of it")
	for _, k := range kinds {
		for name := range k.paper.figures {
			if !slices.Contains(names, name) {
				t.Errorf("%s: no series %q", k.name, name)
			}
		}
	}
}

// A container starts the program, and nothing is left of it; where crun is missing, or may not, that is said and in the report.
func TestCrun(t *testing.T) {
	var said strings.Builder
	b := &Bench{Stderr: &said, root: t.TempDir(), dir: t.TempDir()}
	program, err := b.program("stamp")
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.crun(t.Context(), program)
	if err != nil {
		t.Fatal(err)
	}
	if s == nil {
		if len(b.notes) != 1 || !strings.HasPrefix(b.notes[0], "without crun: ") || said.String() != "bench: "+b.notes[0]+"\n" {
			t.Errorf("%q, said %q", b.notes, said.String())
		}
	} else {
		for range 2 {
			if took, err := s.once(); err != nil || took <= 0 {
				t.Errorf("%v, %v", took, err)
			}
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
	t.Setenv("PATH", "")
	b.notes = nil
	if s, err := b.crun(t.Context(), program); s != nil || err != nil || !slices.Equal(b.notes, []string{"without crun: not found: install it: apt-get install crun"}) {
		t.Errorf("%v, %v, %q", s, err, b.notes)
	}
}

func TestFacts(t *testing.T) {
	for want, hv := range map[string]*xen.Info{
		"hosted, each pVM a process in a sandbox: seccomp, namespaces": {Name: "hosted", Sandbox: []string{"seccomp", "namespaces"}},
		"Xen 4.17.7 on 2 processors, scheduler credit2":                {Name: "xen", Version: "4.17.7", CPUs: 2, Scheduler: "credit2", Memory: 4 << 30},
	} {
		list := facts(hv)
		var names []string
		for _, f := range list {
			names = append(names, f.what)
			if f.value == "" || strings.ContainsAny(f.value, "\n\"") {
				t.Errorf("%+v", f)
			}
		}
		if names[0] == "Machine" { // where the firmware tells
			names, list = names[1:], list[1:]
		}
		if !slices.Equal(names, []string{"Processors", "Memory", "System", "Hypervisor", "Load at the start"}) || list[3].value != want {
			t.Errorf("%+v", list)
		}
		if hv.Memory > 0 && !strings.HasPrefix(list[1].value, "4.0 GiB, dom0 has ") {
			t.Errorf("%+v", list[1])
		}
	}
}
