package shell

import (
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// What the interpreter lacks is put in by rewriting a program before it runs:
//
//	cmd &        { _kxsh_new SIMPLE TEXT; { _kxsh_job=$_kxsh_last; (cmd) && _kxsh_end 0 || _kxsh_end $?; } </dev/null & _kxsh_bang; }
//	$!           $_kxsh_pid, which _kxsh_bang has set
//	$0           $_kxsh_0
//	kill web*    kill web\*: the glob is over names of pVMs
//	while c; do  while c; do _kxsh_check && :;
//	( trap … )   ( _kxsh_sub; trap …; _kxsh_leave )
//	shift 2      _kxsh_shift "$#" 2: shift of more than there is fails
//	$((a / b))   $((a / (_kxsh_by = b, _kxsh_by ? _kxsh_by : ${_kxsh_arithmetic?…}))): a divisor of 0 ends the line
//	let "x += 1" let x+=1
//	((a[i]++))   { a[i]=$((a[i]+1)); ((a[i]-1)); }
//	for ((…))    with : at the end of what is done, for else a failure there would end it
//	>| file      >file with a mark behind its name, which openHandler takes off (redirect.go)
//	2>&1 3>&-    2>&1: nothing is open there
//	cmd 3>file   _kxsh_above 3, which says that there is no such descriptor
//	console 3 | console 9    _kxsh_console from 3 | _kxsh_console to 9: each knows what its neighbour is (pipeline.go)
//
// The calls are served by the handlers in handlers.go. _kxsh_check runs pending traps and leaves $?
// alone; && keeps it clear of set -e. Once a script uses trap, every statement has one before it.
const (
	callNew   = "_kxsh_new"
	callEnd   = "_kxsh_end"
	callBang  = "_kxsh_bang"
	callCheck = "_kxsh_check"
	callKeep  = "_kxsh_keep"
	callSub   = "_kxsh_sub"
	callLeave = "_kxsh_leave"
	callDie   = "_kxsh_die"

	callConsole = "_kxsh_console"
	callShift   = "_kxsh_shift"
	callAbove   = "_kxsh_above"

	varJob  = "_kxsh_job"
	varLast = "_kxsh_last"
	varPID  = "_kxsh_pid"
	varZero = "_kxsh_0"

	varDivisor    = "_kxsh_by"
	varArithmetic = "_kxsh_arithmetic" // never set
)

// rewriter rewrites one program.
type rewriter struct {
	s       *Shell
	made    map[*syntax.Stmt]bool // background statements that are the outcome already
	changed bool
}

// rewrite prepares a program for the interpreter. It reports whether it changed anything but loops.
func (s *Shell) rewrite(f *syntax.File) bool {
	w := &rewriter{s: s, made: map[*syntax.Stmt]bool{}}
	w.survey(f)
	syntax.Walk(f, w.visit)
	if s.usesTraps() {
		f.Stmts = checkpoints(f.Stmts)
		w.changed = true
	}
	return w.changed
}

// survey notes the functions that the program declares, which go before our commands, and traps.
func (w *rewriter) survey(f *syntax.File) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.FuncDecl:
			if n.Name != nil {
				w.s.funcs[n.Name.Value] = true
			}
		case *syntax.CallExpr:
			if isCall(n, "trap") {
				w.s.trapsUsed = true
			}
			if isCall(n, "set") && len(n.Args) > 1 {
				flags := n.Args[1].Lit()
				w.s.traced = w.s.traced || strings.HasPrefix(flags, "-") && strings.Contains(flags, "x") || len(n.Args) > 2 && n.Args[2].Lit() == "xtrace"
			}
		}
		return true
	})
}

func (s *Shell) usesTraps() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trapsUsed
}

// isCall reports whether c calls a command by that literal name, also through command or builtin.
func isCall(c *syntax.CallExpr, name string) bool {
	for _, arg := range c.Args {
		switch arg.Lit() {
		case name:
			return true
		case "command", "builtin":
			continue
		}
		return false
	}
	return false
}

func (w *rewriter) visit(n syntax.Node) bool {
	switch n := n.(type) {
	case *syntax.Stmt:
		w.redirections(n)
		w.element(n)
		if n.Background && n.Cmd != nil && !w.made[n] {
			w.background(n)
		}
	case *syntax.ParamExp:
		w.param(n)
	case *syntax.BinaryCmd:
		if n.Op == syntax.Pipe {
			w.neighbours(n)
		}
	case *syntax.CallExpr:
		w.escapeGlobs(n)
		if len(n.Args) > 0 && n.Args[0].Lit() == "shift" {
			n.Args = append([]*syntax.Word{literal(callShift), variable("#")}, n.Args[1:]...)
			w.changed = true
		}
	case *syntax.LetClause:
		w.unquote(n.Exprs)
	case *syntax.ArithmExp:
		w.divisors(n.X)
	case *syntax.UnaryArithm, *syntax.BinaryArithm:
		w.assignments(n)
	case *syntax.WhileClause:
		n.Do = w.loop(n.Do)
	case *syntax.ForClause:
		n.Do = w.loop(n.Do)
		if _, ok := n.Loop.(*syntax.CStyleLoop); ok {
			n.Do, w.changed = append(n.Do, callStmt(":")), true
		}
	case *syntax.Subshell:
		n.Stmts = w.subshell(n.Stmts)
	case *syntax.CmdSubst:
		n.Stmts = w.subshell(n.Stmts)
	case *syntax.Block:
		n.Stmts = w.list(n.Stmts)
	case *syntax.IfClause:
		n.Then = w.list(n.Then)
	case *syntax.CaseItem:
		n.Stmts = w.list(n.Stmts)
	}
	return true
}

// param redirects the parameters that the interpreter has wrong.
func (w *rewriter) param(p *syntax.ParamExp) {
	if p.Param == nil {
		return
	}
	switch p.Param.Value {
	case "!":
		p.Param.Value = varPID
	case "0":
		p.Param.Value = varZero
	default:
		return
	}
	p.Short = false
	w.changed = true
}

// background turns cmd & into the block that starts it as a job.
func (w *rewriter) background(st *syntax.Stmt) {
	w.changed = true
	text := source(st)
	inner := *st
	inner.Background = false
	_, simple := inner.Cmd.(*syntax.CallExpr)
	run := &syntax.Stmt{Position: st.Position, Cmd: &syntax.BinaryCmd{
		Op: syntax.OrStmt,
		X: &syntax.Stmt{Cmd: &syntax.BinaryCmd{
			Op: syntax.AndStmt,
			X:  &syntax.Stmt{Cmd: &syntax.Subshell{Stmts: []*syntax.Stmt{&inner}}},
			Y:  callStmt(callEnd, literal("0")),
		}},
		Y: callStmt(callEnd, variable("?")),
	}}
	enter := &syntax.Stmt{Cmd: &syntax.CallExpr{Assigns: []*syntax.Assign{{
		Name: &syntax.Lit{Value: varJob}, Value: variable(varLast),
	}}}}
	job := &syntax.Stmt{
		Background: true,
		Cmd:        &syntax.Block{Stmts: []*syntax.Stmt{enter, run}},
		Redirs:     []*syntax.Redirect{{Op: syntax.RdrIn, Word: literal("/dev/null")}},
	}
	w.made[job] = true
	*st = syntax.Stmt{Position: st.Position, Cmd: &syntax.Block{Stmts: []*syntax.Stmt{
		callStmt(callNew, literal(strconv.FormatBool(simple)), quoted(text)),
		job,
		callStmt(callBang),
	}}}
}

// source prints a statement on one line, without the &.
func source(st *syntax.Stmt) string {
	var b strings.Builder
	syntax.NewPrinter(syntax.SingleLine(true)).Print(&b, st)
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(strings.ReplaceAll(b.String(), "\n", "; ")), "&"))
}

func (w *rewriter) loop(list []*syntax.Stmt) []*syntax.Stmt {
	if w.s.usesTraps() {
		return append(checkpoints(list), check())
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.s.traced {
		return list
	}
	return append([]*syntax.Stmt{check()}, list...)
}

func (w *rewriter) list(list []*syntax.Stmt) []*syntax.Stmt {
	if !w.s.usesTraps() {
		return list
	}
	return checkpoints(list)
}

// subshell gives a subshell that sets traps its own.
func (w *rewriter) subshell(list []*syntax.Stmt) []*syntax.Stmt {
	own := false
	for _, st := range list {
		if c, ok := st.Cmd.(*syntax.CallExpr); ok && isCall(c, "trap") && len(c.Args) > 2 {
			own = true
		}
	}
	list = w.list(list)
	if !own {
		return list
	}
	w.changed = true
	list = append([]*syntax.Stmt{callStmt(callSub)}, list...)
	return append(list, callStmt(callLeave, variable("?")))
}

// checkpoints puts a check before each statement.
func checkpoints(list []*syntax.Stmt) []*syntax.Stmt {
	var out []*syntax.Stmt
	for _, st := range list {
		out = append(out, check(), st)
	}
	return out
}

func check() *syntax.Stmt {
	return &syntax.Stmt{Cmd: &syntax.BinaryCmd{Op: syntax.AndStmt, X: callStmt(callCheck), Y: callStmt(":")}}
}

// escapeGlobs keeps unquoted globs of commands that take PIDs from matching files.
func (w *rewriter) escapeGlobs(c *syntax.CallExpr) {
	if len(c.Args) == 0 {
		return
	}
	cmd := w.s.table[c.Args[0].Lit()]
	if cmd == nil || cmd.Args != PVM && cmd.Args != PVMOrJob && cmd.Args != Job {
		return
	}
	for _, arg := range c.Args[1:] {
		for _, part := range arg.Parts {
			if lit, ok := part.(*syntax.Lit); ok && strings.ContainsAny(lit.Value, "*?[") {
				lit.Value = escapeGlob(lit.Value)
				w.changed = true
			}
		}
	}
}

// escapeGlob puts a backslash before glob characters that have none.
func escapeGlob(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			b.WriteString(s[i : i+2])
			i++
			continue
		}
		if strings.IndexByte("*?[", s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func literal(s string) *syntax.Word {
	return &syntax.Word{Parts: []syntax.WordPart{&syntax.Lit{Value: s}}}
}

func quoted(s string) *syntax.Word {
	q, err := syntax.Quote(s, syntax.LangBash)
	if err != nil { // a NUL, which no program text has
		q = "job"
	}
	f, err := syntax.NewParser().Parse(strings.NewReader(q), "")
	if err != nil || len(f.Stmts) != 1 {
		return literal("job")
	}
	return f.Stmts[0].Cmd.(*syntax.CallExpr).Args[0]
}

func variable(name string) *syntax.Word {
	return &syntax.Word{Parts: []syntax.WordPart{&syntax.DblQuoted{Parts: []syntax.WordPart{
		&syntax.ParamExp{Param: &syntax.Lit{Value: name}},
	}}}}
}

func callStmt(name string, args ...*syntax.Word) *syntax.Stmt {
	return &syntax.Stmt{Cmd: &syntax.CallExpr{Args: append([]*syntax.Word{literal(name)}, args...)}}
}

// rewriteText rewrites the text of eval, source and traps, which the interpreter parses itself.
func (s *Shell) rewriteText(text string) (string, error) {
	f, err := syntax.NewParser().Parse(strings.NewReader(text), "")
	if err != nil {
		return "", err
	}
	if !s.rewrite(f) {
		return text, nil
	}
	var b strings.Builder
	if err := syntax.NewPrinter().Print(&b, f); err != nil {
		return "", err
	}
	return b.String(), nil
}
