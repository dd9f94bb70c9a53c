// The Python module speedpay.swarm._native: Boost.Python around Core and Graft.
//
// It works because libtorrent's binding and this module share one libboost_python, whose registry
// knows how to take the lt::session out of the binding's session object.
#include <memory>
#include <stdexcept>
#include <string>

#include <boost/python.hpp>

#include <libtorrent/file_storage.hpp>
#include <libtorrent/session.hpp>
#include <libtorrent/version.hpp>

#include "core.hpp"
#include "plugin.hpp"

namespace py = boost::python;

namespace speedpay {
namespace {

// Lets other Python threads run, and the network thread finish what it may be doing in Python.
class WithoutInterpreterLock
{
public:
	WithoutInterpreterLock() : m_state(PyEval_SaveThread()) {}
	~WithoutInterpreterLock() { PyEval_RestoreThread(m_state); }
	WithoutInterpreterLock(WithoutInterpreterLock const&) = delete;
	WithoutInterpreterLock& operator=(WithoutInterpreterLock const&) = delete;

private:
	PyThreadState* m_state;
};

using Long = long long;

// Also a PeerId, which is the same type.
PyObject* bytes(InfoHash const& hash)
{ return PyBytes_FromStringAndSize(hash.data(), Py_ssize_t(hash.size())); }

PyObject* bytes(std::string const& text)
{ return PyBytes_FromStringAndSize(text.data(), Py_ssize_t(text.size())); }

// What a peer or the system says in words need not be valid UTF-8.
PyObject* words(std::string const& text)
{ return PyUnicode_DecodeUTF8(text.data(), Py_ssize_t(text.size()), "replace"); }

PyObject* truth(bool value) { return PyBool_FromLong(value); }

struct FieldsOf
{
	PyObject* operator()(PeerConnected const& e) const
	{
		return Py_BuildValue("(LNNiN)", Long(e.connection), bytes(e.infohash), words(e.address)
			, e.port, truth(e.outgoing));
	}
	PyObject* operator()(PeerExtended const& e) const
	{
		return Py_BuildValue("(LNNN)", Long(e.connection), bytes(e.own_id), bytes(e.peer_id)
			, bytes(e.infohash));
	}
	PyObject* operator()(PeerGone const& e) const
	{ return Py_BuildValue("(LN)", Long(e.connection), words(e.reason)); }
	PyObject* operator()(InterestChanged const& e) const
	{ return Py_BuildValue("(LNN)", Long(e.connection), truth(e.local), truth(e.remote)); }
	PyObject* operator()(Message const& e) const
	{ return Py_BuildValue("(LLN)", Long(e.connection), Long(e.sequence), bytes(e.payload)); }
	PyObject* operator()(Flooded const& e) const { return Py_BuildValue("(L)", Long(e.connection)); }
	PyObject* operator()(BlocksReceived const& e) const
	{
		return Py_BuildValue("(LiiiLLN)", Long(e.connection), e.piece, e.start, e.length
			, Long(e.asked_after), Long(e.message_sequence), truth(e.asked));
	}
	PyObject* operator()(BlocksSent const& e) const
	{
		return Py_BuildValue("(LLLL)", Long(e.connection), Long(e.byte_count), Long(e.asked_after)
			, Long(e.message_sequence));
	}
	PyObject* operator()(PiecePassed const& e) const
	{ return Py_BuildValue("(Ni)", bytes(e.infohash), e.piece); }
	PyObject* operator()(PieceFailed const& e) const
	{ return Py_BuildValue("(Ni)", bytes(e.infohash), e.piece); }
};

class NativeExtension
{
public:
	NativeExtension(py::object session, std::string const& message_name)
		: m_core(std::make_shared<Core>())
	{
		lt::session& running = py::extract<lt::session&>(session);
		auto const graft = std::make_shared<Graft>(m_core, message_name);
		WithoutInterpreterLock const unlocked;
		graft->graft(running);
	}

	~NativeExtension() { close(); }

	int fileno() const { return m_core->fd(); }

	// (events as [(number of the kind, fields)], whether an event was lost before them)
	py::tuple drain()
	{
		bool lost_count = false;
		auto const events = m_core->drain(lost_count);
		py::list result;
		for (Event const& event : events)
		{
			// A null pointer becomes the Python exception that made it.
			py::object const fields{py::handle<>(std::visit(FieldsOf{}, event))};
			result.append(py::make_tuple(int(event.index()), fields));
		}
		return py::make_tuple(result, lost_count);
	}

	void send(ConnectionId connection, py::object payload)
	{
		char* data = nullptr;
		Py_ssize_t size = 0;
		if (PyBytes_AsStringAndSize(payload.ptr(), &data, &size) != 0) py::throw_error_already_set();
		if (std::size_t(size) > max_message_bytes)
			throw std::invalid_argument("a message has at most 4096 bytes");
		m_core->command(connection, SendMessage{connection, std::string(data, std::size_t(size))});
	}

	void set_weight(ConnectionId connection, int weight)
	{
		if (weight < 1 || weight > 255) throw std::invalid_argument("a weight is 1 ... 255");
		m_core->command(connection, SetWeight{connection, static_cast<std::uint8_t>(weight)});
	}

	void withhold(ConnectionId connection, bool on)
	{ m_core->command(connection, Withhold{connection, on}); }

	void serve(ConnectionId connection, bool on)
	{ m_core->command(connection, Serve{connection, on}); }

	// None: no bound.
	void allow(ConnectionId connection, py::object more)
	{
		bool const all = more.is_none();
		m_core->allow(connection, all ? any_payload : py::extract<std::uint64_t>(more)());
	}

	void ban(ConnectionId connection) { m_core->command(connection, Ban{connection}); }

	void close() { m_core->close(); }

private:
	std::shared_ptr<Core> m_core;
};

// Raises RuntimeError unless the loaded libtorrent is the one whose headers we were built with: the
// same version, and the same layout of a class seen once through inline and once through exported
// functions. The session's own layout is checked when an extension is made.
void check_library()
{
	if (std::string(lt::version()) != LIBTORRENT_VERSION)
		throw std::runtime_error(std::string("built for libtorrent " LIBTORRENT_VERSION
			", but the one loaded is ") + lt::version());
	lt::file_storage files;
	files.set_piece_length(16 * 1024);
	files.add_file("folder/name", 40'000);
	if (files.piece_length() != 16 * 1024 || files.total_size() != 40'000
		|| files.num_files() != 1 || files.name() != "folder")
		throw std::runtime_error("libtorrent lays its classes out differently from its headers");
}

} // namespace
} // namespace speedpay

BOOST_PYTHON_MODULE(_native)
{
	using speedpay::NativeExtension;
	py::def("check_library", &speedpay::check_library);
	py::class_<NativeExtension, boost::noncopyable>("Extension", py::init<py::object, std::string>())
		.def("fileno", &NativeExtension::fileno)
		.def("drain", &NativeExtension::drain)
		.def("send", &NativeExtension::send)
		.def("set_weight", &NativeExtension::set_weight)
		.def("withhold", &NativeExtension::withhold)
		.def("serve", &NativeExtension::serve)
		.def("allow", &NativeExtension::allow)
		.def("ban", &NativeExtension::ban)
		.def("close", &NativeExtension::close);
}
