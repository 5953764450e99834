"""Where a host says it may be reached."""

from handoffd.pairing.address import own_urls


def test_an_address_that_is_listened_on_alone_is_the_only_one():
    assert own_urls("bob-vm", [("192.0.2.7", 8788)]) == ["https://192.0.2.7:8788"]
    assert own_urls("bob-vm", [("2001:db8::7", 8788)]) == ["https://[2001:db8::7]:8788"]


def test_a_host_that_listens_everywhere_is_called_by_its_name_first():
    assert own_urls("bob-vm", [("0.0.0.0", 8788)])[0] == "https://bob-vm:8788"


def test_no_address_is_told_twice():
    urls = own_urls("bob-vm", [("0.0.0.0", 8788), ("::", 8788), ("127.0.0.1", 9)])
    assert len(urls) == len(set(urls))
    assert urls[-1] == "https://127.0.0.1:9"
