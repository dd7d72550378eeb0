//! Nothing, since a package must have something: see the makefile beside it.
