"""Whatever happens while modules are loaded, the collector works afterwards."""

import gc

import pytest

from handoffd.loading import loading


def test_the_collector_rests_while_modules_are_loaded():
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_collector_works_again_after_a_module_that_cannot_be_loaded():
    with pytest.raises(ImportError), loading():
        raise ImportError("no such module")
    assert gc.isenabled()


def test_what_was_loaded_is_not_walked_again():
    with loading():
        made = [[]]
    assert gc.get_freeze_count() > 0
    assert all(one is not made for one in gc.get_objects())
