package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func dlopenSource(name string) string {
	return filepath.Join(root, "shell/e2e/testdata/dlopen", name+".c")
}

// plugs makes a program that loads libraries, and in the folder plugs libraries for it.
func (h *home) plugs(t *testing.T) (host, folder string) {
	t.Helper()
	folder = filepath.Join(h.dir, "plugs")
	if err := os.MkdirAll(filepath.Join(folder, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.plug(t, "plugs/need.so", "need")
	h.plug(t, "plugs/plug.so", "plug", "plugs/need.so")
	return h.compiled(t, dlopenSource("host"), "host.kx", []string{"-O2", "-rdynamic", "-ldl"}, h.cc), folder
}

func (h *home) plug(t *testing.T, name, source string, more ...string) string {
	t.Helper()
	return h.compiled(t, dlopenSource(source), name, append([]string{"-O2", "-g", "-shared", "-Wl,-soname," + filepath.Base(name)}, more...), h.cc)
}

// says wants what a program with arguments says, and its status.
func (h *home) says(t *testing.T, want string, args ...string) {
	t.Helper()
	out, errs, code := h.run(t, append([]string{"run"}, args...)...)
	if code != 0 || out != want {
		t.Errorf("%q: status %d\n%s%s\nwant\n%s", args, code, out, errs, want)
	}
}

// A program loads libraries, which need others and use the program's own libc; it and its child go on with them.
func TestDlopen(t *testing.T) {
	h := newHome(t)
	host, folder := h.plugs(t)
	h.plug(t, "plugs/wants.so", "plug", "-DWANTS", "plugs/need.so")
	const begin, end = "need begins\nplug begins\n", "plug ends\nneed ends\n"
	h.says(t, begin+"plug.so 111\nplug's 3, need's 2, first 1, the program's 1\nafter plug 2\nplug.so plug 1\nwhose\nstack 0\n! nothing: symbol not found\nagain 1, closed 0 0\ninvalid 1 0\n"+end,
		"--lib-path", folder, host, "plug.so")
	h.says(t, begin+"plug.so 111\n./plug.so 212\n"+folder+"/plug.so 313\n"+end, "--lib-path", folder, host, "plug.so", "./plug.so", folder+"/plug.so")
	h.says(t, begin+"plug.so 111\nchild\nplug.so 312\n"+end+end, "--lib-path", folder, host, "plug.so", "fork", "plug.so")
	h.says(t, "child\n"+begin+"plug.so 211\n"+end, "--lib-path", folder, host, "fork", "plug.so")
	h.says(t, begin+"8 threads\nplug.so 311\n"+end, "--lib-path", folder, host, "threads", "plug.so", "plug.so")
	h.says(t, begin+"plug.so 111\nplug.so 212\n"+end, "-e", "LD_BIND_NOW=1", "--lib-path", folder, host, "plug.so", "plug.so")
	nowhere := func(name string) string {
		return fmt.Sprintf("! %s: is in none of %s, %s: name its folder with --lib-path\n", name, folder, h.dir)
	}
	h.says(t, nowhere("nowhere.so")+nowhere("/etc/passwd")+nowhere("../plugs/plug.so")+begin+"plug.so 411\n"+end, "--lib-path", folder, host, "nowhere.so", "/etc/passwd", "../plugs/plug.so", "plug.so")
	h.says(t, "! wants.so: needs nobody, which neither the image nor any of its libraries has: link the image again\n", "--lib-path", folder, host, "wants.so")
	h.says(t, "! host.kx: not a library of pVMs: a program, not a library: link it with kxsh cc -shared\n", host, "host.kx")
}

// Sixteen libraries are the most. A name may have folders in it.
func TestDlopenMany(t *testing.T) {
	h := newHome(t)
	host, folder := h.plugs(t)
	var names []string
	want := "need begins\n"
	for i := range 16 {
		name := fmt.Sprintf("deep/%d.so", i)
		h.plug(t, "plugs/"+name, "plug", "plugs/need.so", fmt.Sprintf("-DNUMBER=%d", i), fmt.Sprintf("-Wl,-soname,%d.so", i))
		names = append(names, name)
		if i < 15 {
			want += fmt.Sprintf("plug begins\n%s %d\n", name, 100*(i+1)+11)
		}
	}
	want += "! deep/15.so: needs more than 16 libraries\n" + strings.Repeat("plug ends\n", 15) + "need ends\n"
	h.says(t, want, append([]string{"--lib-path", folder, host}, names...)...)
}

// An image without what it takes says so, and one that has to be signed takes signed libraries alone.
func TestDlopenRefused(t *testing.T) {
	h := newHome(t)
	host, folder := h.plugs(t)
	static := h.compiled(t, dlopenSource("host"), "static.kx", []string{"-O2"}, h.cc)
	h.says(t, "! Dynamic loading not supported\n", "--lib-path", folder, static, "plug.so")
	h.output(t, "-c", "cd "+h.dir+"; keygen --trust; sign host.kx plugs/need.so")
	out, errs, code := h.run(t, "run", "--require", "signed", "--lib-path", folder, host, "plug.so")
	if code != 0 || !strings.Contains(out, "! "+folder+"/plug.so: refused by rule signed") {
		t.Errorf("not signed: status %d\n%s%s", code, out, errs)
	}
	h.output(t, "-c", "cd "+h.dir+"; sign plugs/plug.so")
	h.says(t, "need begins\nplug begins\nplug.so 111\nchild\nplug.so 312\nplug ends\nneed ends\nplug ends\nneed ends\n", "--require", "signed", "--lib-path", folder, host, "plug.so", "fork", "plug.so")
}

// What came later is listed, replaced and taken back as any library, also by an engine that comes later itself, and in children.
func TestDlopenUpdate(t *testing.T) {
	h := newHome(t)
	host, folder := h.plugs(t)
	next := h.plug(t, "next.so", "plug", "-DUPDATE", "-Wl,-soname,plug.so", "plugs/need.so")
	pid := h.server(t, "--lib-path", folder, host, "serve", "plug.so")
	if list := h.ldd(t, pid); len(list) != 0 {
		t.Errorf("before: %+v", list)
	}
	sees := func(pid string, n int, want string) {
		t.Helper()
		if got := h.sees(t, pid, n); got != want {
			t.Errorf("(%s): round %d: %q, want %q", pid, n, got, want)
		}
	}
	sees(pid, 1, "111")
	child := strings.TrimSpace(h.output(t, "fork", pid))
	h.update(t, pid, next, "plug.so")
	if out := h.output(t, "events"); strings.Count(out, "loaded") != 2 {
		t.Errorf("%s", out)
	}
	h.killEngine(t)
	list := h.ldd(t, pid)
	if len(list) != 2 || list[0].Name != "plug.so" || list[0].Path != next || list[1].Name != "need.so" || list[1].Sharers != 2 || list[1].Bound+list[1].Lazy != 1 {
		t.Errorf("after: %+v", list)
	}
	sees(child, 2, "112")
	sees(pid, 2, "12100")
	h.output(t, "rollback", pid, "plug.so")
	sees(pid, 3, "113")
	h.update(t, child, next, "plug.so")
	sees(child, 3, "13100")
}

// What comes by dlopen is shared with whom its record, or the image's, allows: the stricter of the two.
func TestDlopenLoader(t *testing.T) {
	for _, c := range []struct{ image, library, loader, sharers string }{
		{"any", "any", "any", "3 3 3"}, {"app", "any", "app", "2 2 1"}, {"any", "app", "app", "2 2 1"}, {"app", "self", "self", "1 1 1"},
	} {
		t.Run(c.image+"-"+c.library, func(t *testing.T) {
			h := newHome(t)
			host, folder := h.plugs(t)
			other := h.compiled(t, dlopenSource("host"), "other.kx", []string{"-O1", "-rdynamic", "-ldl"}, h.cc)
			h.output(t, "-c", fmt.Sprintf("cd %s; keygen --trust; sign --loader %s host.kx other.kx; sign --loader %s plugs/plug.so", h.dir, c.image, c.library))
			var pids, got []string
			for _, image := range []string{host, host, other} {
				pid := h.server(t, "--lib-path", folder, image, "serve", "plug.so")
				if n := h.sees(t, pid, 1); n != "111" {
					t.Errorf("(%s): %q", pid, n)
				}
				pids = append(pids, pid)
			}
			for _, pid := range pids {
				l := h.ldd(t, pid)[0]
				if l.Name != "plug.so" || l.Loader != c.loader {
					t.Errorf("(%s): %+v, want loader %s", pid, l, c.loader)
				}
				got = append(got, fmt.Sprint(l.Sharers))
			}
			if strings.Join(got, " ") != c.sharers {
				t.Errorf("shared by %v, want %s", got, c.sharers)
			}
		})
	}
}

// An engine that is killed in the middle of a load is followed by one that ends it: the pVM has all of the library, or nothing.
func TestDlopenEngineKilled(t *testing.T) {
	h := newHome(t)
	host, folder := h.plugs(t)
	args := []string{"--lib-path", folder, host, "serve"}
	for i := range 8 {
		name := fmt.Sprintf("deep/%d.so", i)
		h.plug(t, "plugs/"+name, "plug", "plugs/need.so", fmt.Sprintf("-Wl,-soname,%d.so", i))
		args = append(args, name)
	}
	pid := h.server(t, args...)
	want := ""
	for i := range 8 {
		h.output(t, "kill", "-USR1", pid)
		time.Sleep(time.Duration(i) * 500 * time.Microsecond * time.Duration(slowness))
		h.killEngine(t)
		want = ""
		for k := range i + 1 {
			want += fmt.Sprintf(" %d", 100*(k+1)+11+i-k)
		}
		h.awaitLog(t, pid, fmt.Sprintf("%s %d:%s\n", pid, i+1, want))
		if list := h.ldd(t, pid); len(list) != i+2 || list[0].Name != "deep/0.so" || list[1].Name != "need.so" || list[i+1].Bound < 0 {
			t.Errorf("round %d: %+v", i+1, list)
		}
	}
}

// Lua, unmodified, gets a module in C by its own require, and goes on while the module is replaced: its functions, in tables and variables of the script, are the
// new one's, and so are the module's variables, with the values that they had. Lua looks whether there is such a file in the pVM's own root.
func TestLuaModule(t *testing.T) {
	h := newHome(t)
	lua := filepath.Join(root, "guest/ports/lua")
	modules := filepath.Join(lua, "modules")
	h.output(t, "-c", fmt.Sprintf("cd %s; tar -cf %s/root.tar vec.so watch.lua", modules, h.dir))
	pid := strings.TrimSpace(h.output(t, "run", "-d", "--lib-path", modules, "--root", "root.tar", "-e", "LUA_CPATH=./?.so", filepath.Join(lua, "lua.kx"), "watch.lua"))
	h.awaitLog(t, pid, "\n3\t")
	u := h.update(t, pid, filepath.Join(modules, "vec2.so"), "vec.so")
	if u.Functions == 0 || u.Variables != 2 {
		t.Errorf("%+v", u)
	}
	out, errs, code := h.run(t, "wait", pid)
	if code != 0 {
		t.Errorf("status %d\n%s%s", code, out, errs)
	}
	lines := strings.Split(strings.TrimSpace(h.output(t, "logs", pid)), "\n")
	for i, line := range lines {
		length, version := "5.0", 1
		if i == len(lines)-1 {
			length, version = "7.0", 2
		}
		if want := fmt.Sprintf("%d\t%s\t%d\t1\t%d", i+1, length, version, i+1); line != want {
			t.Errorf("%q, want %q", line, want)
		}
	}
}

// What a program says of its libraries is its own affair: if it is nonsense its next call ends it, and nothing else happens.
func TestLibrariesScribbled(t *testing.T) {
	h := newHome(t)
	h.plug(t, "libneed.so", "need")
	app := h.compiled(t, dlopenSource("scribble"), "scribble.kx", []string{"-O2", "-L.", "-lneed"}, h.cc)
	h.says(t, "need begins\nneed ends\n", app)
	for _, what := range []string{"next", "wild", "hash", "loop", "symbols", "text", "base", "calls"} {
		out, errs, code := h.run(t, "run", app, what)
		if code != 127 || !strings.Contains(errs, "kx: a call of ") {
			t.Errorf("%s: status %d\n%s%s", what, code, out, errs)
		}
	}
}
