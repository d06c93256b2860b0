package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"kxsh/elf"
)

// Exit statuses of cc itself; gcc's own are passed on.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 127
	exitSignal   = 128
)

// usualFlags come before the user's: they say aloud what distributions set differently, and the user
// may say otherwise. Stack clash protection lets no large frame step over the guard page below a stack.
// forcedFlags come last: without them a program does not work in a pVM.
// guest/Makefile compiles the LibOS with its own list. With usualLink a program that says -lm and computes nothing needs no libm.so.
var (
	usualFlags = []string{"-march=x86-64", "-mtune=generic", "-fcf-protection=none", "-fno-stack-protector",
		"-fstack-clash-protection", "-fno-asynchronous-unwind-tables", "-U_FORTIFY_SOURCE", "-D__kxsh__=1"}
	usualLink   = "-Wl,--as-needed"
	forcedFlags = []string{"-mno-red-zone", "-fno-pie", "-fno-pic"}
	sharedFlags = []string{"-mno-red-zone", "-fPIC", "-fplt"} // likewise, of code for a shared library
)

// The flags of the linker. imageFlags make an image: linked at a fixed address, constants apart from code, and nothing left for a
// dynamic loader to do; staticFlags one without shared libraries, dynamicFlags one with, which has no interpreter and which lets its
// libraries use its functions. libraryFlags make a library, which takes from the image what is not its own. A later -soname of the
// user's counts. The two -nostdlib speak to gcc and to ld, which has library folders of its own.
var (
	anyFlags = []string{"-nostdlib", "-nostartfiles", "-Wl,-nostdlib", "-Wl,-z,max-page-size=4096", "-Wl,-z,separate-code",
		"-Wl,-z,norelro", "-Wl,-z,noexecstack", "-Wl,--build-id=none", "-Wl,--no-eh-frame-hdr"}
	imageFlags   = []string{"-no-pie", "-Wl,-Ttext-segment=0x400000", "-Wl,-e,kx_entry"}
	staticFlags  = []string{"-static"}
	dynamicFlags = append([]string{"-Wl,--no-dynamic-linker", "-Wl,-E"}, bindFlags...)
	libraryFlags = bindFlags
	bindFlags    = []string{"-Wl,-z,lazy", "-Wl,--hash-style=sysv"}
)

// CC is `kxsh cc`: gcc as a cross compiler for pVMs and their shared libraries. It takes gcc's command line, so that a project's
// own build can be told CC="kxsh cc", and three options more:
//
//	-kx-stack=SIZE    stack of the main thread
//	-kx-memory=SIZE   RAM that the program wants
//	-kx-root=DIR|TAR  root file system, appended to the image
//
// It runs in dir (empty: here) with the environment env and returns the exit status. The end of ctx interrupts it.
func CC(ctx context.Context, args []string, env []string, dir string, stdin io.Reader, stdout, stderr io.Writer) int {
	status, err := cc(ctx, args, env, dir, stdin, stdout, stderr)
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(stderr, "cc: %v\n", err)
	}
	return status
}

func cc(ctx context.Context, args []string, env []string, dir string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	a, err := parseCC(args, dir)
	if err != nil {
		return exitUsage, err
	}
	gcc, err := lookPath("gcc", env)
	if err != nil {
		return exitNotFound, err
	}
	cache, err := cacheFolder(env)
	if err != nil {
		return exitFailed, err
	}
	sdk, err := unpackSDK(cache)
	if err != nil {
		return exitFailed, err
	}
	include, err := exec.Command(gcc, "-print-file-name=include").Output()
	if err != nil {
		return exitFailed, fmt.Errorf("%s -print-file-name=include: %w", gcc, err)
	}
	cmd := exec.CommandContext(ctx, gcc, a.gccArgs(sdk, strings.TrimSpace(string(include)))...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // on which it takes away what it has begun
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, dir, stdout, stderr
	if a.stdin {
		cmd.Stdin = stdin
	}
	if status, err := run(cmd); status != 0 || err != nil {
		return status, err
	}
	if a.mode != ccLink && a.mode != ccShare || a.dryRun {
		return 0, nil
	}
	output := a.output
	if !filepath.IsAbs(output) {
		output = filepath.Join(dir, output)
	}
	// A configure script may well say -o /dev/null.
	if st, err := os.Stat(output); err != nil || !st.Mode().IsRegular() {
		return 0, nil
	}
	if err := a.finish(output, dir); err != nil {
		os.Remove(output)
		return exitFailed, fmt.Errorf("%s: %w", a.output, err)
	}
	return 0, nil
}

// gccArgs is the command line for gcc.
func (a *ccArgs) gccArgs(sdk, gccInclude string) []string {
	lib := filepath.Join(sdk, "lib")
	file := func(name string) string { return filepath.Join(lib, name) }
	if a.mode == ccInfo {
		return append([]string{"-B" + lib}, a.pass...)
	}
	args := slices.Clone(usualFlags)
	if a.mode == ccLink {
		args = append(args, file("crt1.o"), file("crti.o"))
	}
	if a.mode == ccLink || a.mode == ccShare {
		args = append(args, usualLink)
	}
	if a.mode == ccShare {
		args = append(args, "-Wl,-soname,"+filepath.Base(a.output))
	}
	args = append(args, a.pass...)
	if a.mode == ccShare || a.mode == ccCompile && a.pic {
		args = append(args, sharedFlags...)
	} else {
		args = append(args, forcedFlags...)
	}
	if !a.nostd {
		args = append(args, "-nostdinc", "-isystem", filepath.Join(sdk, "include"), "-isystem", gccInclude)
	}
	switch a.mode {
	case ccPartial:
		args = append(args, "-nostdlib")
	case ccShare:
		args = slices.Concat(args, anyFlags, libraryFlags)
		args = append(args, "-specs="+filepath.Join(sdk, specsName), "-x", "none", file("libgcc.a"))
	case ccLink:
		args = slices.Concat(args, anyFlags, imageFlags)
		if a.shared {
			args = append(append(args, dynamicFlags...), file("libraries.o"))
			for _, dir := range append(a.find.near(), lib) {
				args = append(args, "-Wl,-rpath-link,"+dir)
			}
		} else {
			args = append(args, staticFlags...)
		}
		args = append(args, "-specs="+filepath.Join(sdk, specsName))
		if a.stack != 0 {
			args = append(args, fmt.Sprintf("-Wl,--defsym=kx_stack_size=%#x", a.stack))
		}
		if a.memory != 0 {
			args = append(args, fmt.Sprintf("-Wl,--defsym=kx_memory=%#x", a.memory))
		}
		args = append(args, "-x", "none")
		if a.opens {
			args = append(args, file("dl.o"), file("libc.externs"))
		}
		args = append(args, "-Wl,--start-group", "-lc", file("libgcc.a"), file("libkx.o"), file("libkxnet.a"), "-Wl,--end-group", file("crtn.o"))
		if a.opens { // ld makes no dynamic section unless it sees a shared library, which need not be needed
			args = append(args, "-Wl,--as-needed", file("libm.so"))
		}
	}
	return args
}

// run runs gcc; an error is one of starting it.
func run(cmd *exec.Cmd) (int, error) {
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if err != nil {
			return exitFailed, err
		}
		return 0, nil
	}
	if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
		return exitSignal + int(ws.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// finish appends the root file system and checks what was linked: with a linker script or options of
// the user's, gcc may have made something that is no image.
func (a *ccArgs) finish(output, dir string) error {
	f, err := os.OpenFile(output, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if a.root != "" {
		root := a.root
		if !filepath.IsAbs(root) {
			root = filepath.Join(dir, root)
		}
		if err := appendRoot(f, root); err != nil {
			return fmt.Errorf("-kx-root=%s: %w", a.root, err)
		}
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if a.mode == ccShare {
		if _, err := elf.ParseLibrary(f, st.Size()); err != nil {
			return fmt.Errorf("not a library of pVMs: %w", err)
		}
	} else if _, err := elf.ParseImage(f, st.Size()); err != nil {
		return fmt.Errorf("not a pVM image: %w", err)
	}
	return f.Close()
}

// lookPath finds a program in the PATH of env.
func lookPath(name string, env []string) (string, error) {
	for _, dir := range filepath.SplitList(getenv(env, "PATH")) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 && filepath.IsAbs(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: not found: install it: apt-get install %s", name, name)
}

// cacheFolder is where the SDK is unpacked.
func cacheFolder(env []string) (string, error) {
	if dir := getenv(env, "XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kxsh"), nil
	}
	if home := getenv(env, "HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", "kxsh"), nil
	}
	return "", errors.New("nowhere to unpack the SDK: set HOME or XDG_CACHE_HOME")
}

// getenv is os.Getenv for an environment given as a list; the last of several wins.
func getenv(env []string, name string) (value string) {
	for _, e := range env {
		if v, found := strings.CutPrefix(e, name+"="); found {
			value = v
		}
	}
	return value
}
