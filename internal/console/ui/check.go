package ui

import (
	"fmt"
	"html/template"
	"reflect"
	"text/template/parse"
)

// checker finds fields and methods that templates name and their data does not
// have, also in branches that no test happens to take. A nil type is one that it
// can't know; what hangs on it is not checked.
type checker struct {
	t     *template.Template
	funcs template.FuncMap
	done  map[visit]bool
}

type visit struct {
	name string
	data reflect.Type
}

func newChecker(t *template.Template) *checker {
	return &checker{t: t, funcs: funcs(), done: map[visit]bool{}}
}

// scope are the variables in sight, by name with the dollar.
type scope map[string]reflect.Type

func (s scope) with(name string, t reflect.Type) scope {
	c := make(scope, len(s)+1)
	for k, v := range s {
		c[k] = v
	}
	c[name] = t
	return c
}

// check checks the named template for data of the given type.
func (c *checker) check(name string, data reflect.Type) error {
	if c.done[visit{name, data}] {
		return nil
	}
	c.done[visit{name, data}] = true
	t := c.t.Lookup(name)
	if t == nil || t.Tree == nil {
		return fmt.Errorf("no template %q", name)
	}
	if err := c.list(t.Tree.Root, data, scope{"$": data}); err != nil {
		return fmt.Errorf("template %q with %v: %w", name, data, err)
	}
	return nil
}

func (c *checker) list(l *parse.ListNode, dot reflect.Type, vars scope) error {
	if l == nil {
		return nil
	}
	for _, n := range l.Nodes {
		var err error
		if vars, err = c.node(n, dot, vars); err != nil {
			return err
		}
	}
	return nil
}

// node checks one node and returns the variables in sight after it.
func (c *checker) node(n parse.Node, dot reflect.Type, vars scope) (scope, error) {
	switch n := n.(type) {
	case *parse.ActionNode:
		_, vars, err := c.pipe(n.Pipe, dot, vars, false)
		return vars, err
	case *parse.IfNode:
		return vars, c.branch(&n.BranchNode, dot, vars, func(reflect.Type) reflect.Type { return dot }, false)
	case *parse.WithNode:
		return vars, c.branch(&n.BranchNode, dot, vars, func(t reflect.Type) reflect.Type { return t }, false)
	case *parse.RangeNode:
		return vars, c.branch(&n.BranchNode, dot, vars, element, true)
	case *parse.TemplateNode:
		if n.Pipe == nil {
			return vars, c.check(n.Name, reflect.TypeFor[struct{}]())
		}
		t, _, err := c.pipe(n.Pipe, dot, vars, false)
		if err != nil || t == nil {
			return vars, err
		}
		return vars, c.check(n.Name, t)
	}
	return vars, nil
}

func (c *checker) branch(b *parse.BranchNode, dot reflect.Type, vars scope, inner func(reflect.Type) reflect.Type, ranged bool) error {
	t, inside, err := c.pipe(b.Pipe, dot, vars, ranged)
	if err != nil {
		return err
	}
	if err := c.list(b.List, inner(t), inside); err != nil {
		return err
	}
	return c.list(b.ElseList, dot, vars)
}

// pipe returns the type of a pipeline's value, and the variables that it declares.
func (c *checker) pipe(p *parse.PipeNode, dot reflect.Type, vars scope, ranged bool) (reflect.Type, scope, error) {
	var t reflect.Type
	for _, cmd := range p.Cmds {
		var err error
		if t, err = c.command(cmd, dot, vars); err != nil {
			return nil, vars, err
		}
	}
	for i, v := range p.Decl {
		declared := t
		if ranged {
			declared = element(t)
			if len(p.Decl) == 2 && i == 0 {
				declared = nil // a key or an index: nothing to look up in it
			}
		}
		vars = vars.with(v.Ident[0], declared)
	}
	return t, vars, nil
}

func (c *checker) command(cmd *parse.CommandNode, dot reflect.Type, vars scope) (reflect.Type, error) {
	for _, arg := range cmd.Args[1:] {
		if _, err := c.operand(arg, dot, vars); err != nil {
			return nil, err
		}
	}
	return c.operand(cmd.Args[0], dot, vars)
}

func (c *checker) operand(n parse.Node, dot reflect.Type, vars scope) (reflect.Type, error) {
	switch n := n.(type) {
	case *parse.DotNode:
		return dot, nil
	case *parse.FieldNode:
		return chain(dot, n.Ident)
	case *parse.VariableNode:
		return chain(vars[n.Ident[0]], n.Ident[1:])
	case *parse.PipeNode:
		t, _, err := c.pipe(n, dot, vars, false)
		return t, err
	case *parse.ChainNode:
		t, err := c.operand(n.Node, dot, vars)
		if err != nil {
			return nil, err
		}
		return chain(t, n.Field)
	case *parse.IdentifierNode:
		if f, ok := c.funcs[n.Ident]; ok {
			return reflect.TypeOf(f).Out(0), nil
		}
		return nil, nil
	case *parse.StringNode:
		return reflect.TypeFor[string](), nil
	case *parse.BoolNode:
		return reflect.TypeFor[bool](), nil
	}
	return nil, nil
}

// chain follows the names of fields and methods from t.
func chain(t reflect.Type, names []string) (reflect.Type, error) {
	for _, name := range names {
		if t == nil {
			return nil, nil
		}
		next, ok := member(t, name)
		if !ok {
			return nil, fmt.Errorf("%v has no field or method %s", t, name)
		}
		t = next
	}
	if t != nil && t.Kind() == reflect.Interface && t.NumMethod() == 0 {
		return nil, nil
	}
	return t, nil
}

func member(t reflect.Type, name string) (reflect.Type, bool) {
	if m, ok := t.MethodByName(name); ok {
		return m.Type.Out(0), true
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	} else if t.Kind() == reflect.Struct {
		// html/template reaches methods of addressable values only by pointer, so
		// a method of *T does not count for a plain T.
		if _, ok := reflect.PointerTo(t).MethodByName(name); ok {
			return nil, false
		}
	}
	switch t.Kind() {
	case reflect.Struct:
		f, ok := t.FieldByName(name)
		if !ok || !f.IsExported() {
			return nil, false
		}
		return f.Type, true
	case reflect.Map:
		return t.Elem(), true
	case reflect.Interface:
		return nil, t.NumMethod() == 0
	}
	return nil, false
}

// element is what range makes the dot.
func element(t reflect.Type) reflect.Type {
	if t == nil {
		return nil
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		return t.Elem()
	}
	return nil
}
